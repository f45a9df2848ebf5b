// The fourth argument of `activate`: every `create…` gives an object at once; what is asked of it
// is answered 501, what is only registered with it stays silent.
(function (host, global, api) {
  'use strict';

  // Names that register something, or are asked by the language itself.
  const SILENT = /^(on[A-Z_].*|add.*Listener|remove.*Listener.*|set[A-Z].*|register.*|unregister.*|init)$/;
  const ABSENT = new Set(['then', 'catch', 'finally', 'toJSON', 'inspect', 'nodeType']);

  const refused = (what, member) => {
    const answer = Promise.reject({ code: 501, desc: `${what}.${member} is not offered here`, reason: 'not-implemented' });
    // Who does not look at the answer has not asked for one.
    answer.catch(() => {});
    return answer;
  };

  const inert = (what) => new Proxy({}, {
    get(target, member) {
      if (member in target) {
        return target[member];
      }
      if (typeof member !== 'string' || ABSENT.has(member)) {
        return undefined;
      }
      return SILENT.test(member) ? () => undefined : () => refused(what, member);
    },
  });

  // Plain data that goes into messages.
  const identity = (username, userURL, picture, name, locale, idp, assertion, profile, expires, guid) => ({
    idp, assertion, profile, expires, guid,
    userProfile: { preferred_username: username, userURL, picture, name, locale, guid },
  });

  const factory = new Proxy({ createMessageBodyIdentity: identity }, {
    get(target, member) {
      if (member in target) {
        return target[member];
      }
      return typeof member === 'string' && /^create[A-Z_]/.test(member)
        ? () => inert(member.slice('create'.length)) : undefined;
    },
    has: (target, member) => member in target || /^create[A-Z_]/.test(String(member)),
  });

  api.factory = factory;
})
