// The fourth argument of `activate`: `createSyncher` synchronises data, every other `create…` gives
// an object at once; what is asked of it is answered 501, what is only registered with it stays
// silent.
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

  // Most components never ask for it: its parts are loaded when one does.
  const createSyncher = (owner, bus, configuration) => {
    if (api.createSyncher === undefined) {
      for (const name of ['syncdata', 'syncobject', 'syncends', 'syncher']) {
        host.part(name)(host, global, api);
      }
    }
    return api.createSyncher(owner, bus, configuration);
  };

  // Scheme, host and rest, as the published components expect them.
  const divideURL = (url) => {
    const form = /^([a-zA-Z-]*)(?::\/\/\.?|:)([-a-zA-Z0-9@:%._+~#=]{2,256})/;
    const text = String(url);
    const whole = form.test(text) || !text.includes('@') ? text : `smtp://${text}`;
    const found = form.exec(whole);
    if (found === null) {
      return { type: '', domain: text, identity: '' };
    }
    const [start, type, host] = found;
    return host.includes('@')
      ? { type, domain: host.split('@')[1], identity: `${type}://${host}` }
      : { type, domain: host, identity: whole.slice(start.length) };
  };

  const factory = new Proxy({ createSyncher, createMessageBodyIdentity: identity, divideURL }, {
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
