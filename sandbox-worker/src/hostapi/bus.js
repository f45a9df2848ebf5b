// The MiniBus: listeners and response callbacks of one sandbox. What is posted always goes out;
// what comes in is delivered as the published stubs expect it.
(function (host, global, api) {
  'use strict';

  const RESPONSE_MS = 15000;
  const LISTENERS_MAX = 10000;
  const CALLBACKS_MAX = 10000;
  const REQUESTS = new Set([
    'create', 'read', 'execute', 'subscribe', 'unsubscribe', 'delete', 'handshake', 'open',
  ]);

  const listeners = new Map();   // address → list of handles in the order they were added
  const callbacks = new Map();   // sender and id → {callback, timer}
  let lastId = 0;
  let handles = 0;

  // Ids are compared by their text, and no sender can run into another's id.
  const keyOf = (address, id) => `${address}\u0000${id}`;
  const word = (type) => (typeof type === 'string' ? type.toLowerCase() : '');

  const codeOf = (body) => {
    const code = body === null || body === undefined ? 200 : body.code;
    if (typeof code === 'string' && /^[1-6]xx$/i.test(code)) {
      return Number(code[0]) * 100;
    }
    return code === undefined ? 200 : Number(code);
  };

  const publish = (address, message) => {
    const list = listeners.get(address);
    if (list === undefined) {
      return false;
    }
    // A copy: whoever is removed meanwhile is skipped, nobody else.
    for (const handle of list.slice()) {
      if (handle.alive) {
        api.guard(`the listener of ${address}`, handle.callback, undefined, [message]);
      }
    }
    return true;
  };

  // A response for somebody who waits. `code` below 200 is provisional.
  const answered = (message) => {
    const key = keyOf(message.to, message.id);
    const entry = callbacks.get(key);
    if (entry === undefined) {
      return false;
    }
    if (!(codeOf(message.body) < 200)) {
      forget(key, entry);
    }
    api.guard('a response callback', entry.callback, undefined, [message]);
    return true;
  };

  const forget = (key, entry) => {
    callbacks.delete(key);
    if (entry.timer !== null) {
      api.cancel(entry.timer);
    }
  };

  // Whether anybody took it.
  const deliver = (message) => {
    if (word(message.type) === 'response' && answered(message)) {
      return true;
    }
    const found = publish(message.to, message);
    if (found && String(message.to).startsWith('hyperty')) {
      return true;
    }
    return publish('*', message) || found;
  };

  // The refusal takes the way that an answer from outside would take.
  const refuse = (message, to, expects, refusal) => {
    if (expects) {
      const answer = {
        id: message.id, type: 'response', from: to, to: message.from,
        body: { code: refusal.code, desc: refusal.desc, reason: refusal.reason },
      };
      api.after(1, () => deliver(answer));
    }
  };

  const send = (message, to, waits) => {
    const type = word(message.type);
    const expects = waits || REQUESTS.has(type);
    const body = message.body === undefined ? '' : JSON.stringify(message.body) || '';
    const refusal = host.post(
      String(message.id).toWellFormed(), type, String(message.from).toWellFormed(),
      String(to).toWellFormed(), body, (typeof message.id === 'number' ? 1 : 0) + (expects ? 2 : 0),
    );
    if (refusal) {
      refuse(message, to, expects, refusal);
    }
    return refusal;
  };

  const named = (message) => {
    if (!message.id) {
      lastId += 1;
      message.id = lastId;
    }
    if (message.from === undefined || message.from === null) {
      message.from = api.component;
    }
  };

  const addResponse = (address, id, callback) => {
    const key = keyOf(address, id);
    const before = callbacks.get(key);
    if (before !== undefined) {
      forget(key, before);
    }
    if (callbacks.size >= CALLBACKS_MAX) {
      throw new RangeError(`more than ${CALLBACKS_MAX} responses are waited for`);
    }
    const entry = { callback, timer: null };
    callbacks.set(key, entry);
    return { key, entry };
  };

  const bus = {
    addListener(url, callback) {
      if (typeof callback !== 'function') {
        throw new TypeError('addListener wants a function');
      }
      if (handles >= LISTENERS_MAX) {
        throw new RangeError(`more than ${LISTENERS_MAX} listeners`);
      }
      const handle = { callback, alive: true };
      handles += 1;
      listeners.set(url, (listeners.get(url) || []).concat(handle));
      host.listened();
      return {
        url,
        remove() {
          if (!handle.alive) {
            return;
          }
          handle.alive = false;
          handles -= 1;
          const rest = (listeners.get(url) || []).filter((other) => other !== handle);
          if (rest.length === 0) {
            listeners.delete(url);
          } else {
            listeners.set(url, rest);
          }
        },
      };
    },

    removeAllListenersOf(url) {
      for (const handle of listeners.get(url) || []) {
        handle.alive = false;
        handles -= 1;
      }
      listeners.delete(url);
    },

    addResponseListener(url, id, callback) {
      addResponse(url, id, callback);
    },

    removeResponseListener(url, id) {
      const key = keyOf(url, id);
      const entry = callbacks.get(key);
      if (entry !== undefined) {
        forget(key, entry);
      }
    },

    // Always goes out, never to a listener of this bus. Gives the id back.
    postMessage(message, callback, timeout = true) {
      if (message === null || typeof message !== 'object') {
        throw new TypeError('postMessage wants a message object');
      }
      named(message);
      const waits = typeof callback === 'function';
      if (waits) {
        const { key, entry } = addResponse(message.from, message.id, callback);
        if (timeout) {
          entry.timer = api.after(RESPONSE_MS, () => {
            callbacks.delete(key);
            callback({
              id: message.id, type: 'response',
              body: { code: 408, desc: 'Response timeout!', value: message },
            });
          });
        }
      }
      const receivers = Array.isArray(message.to) ? message.to : [message.to];
      for (const to of receivers) {
        send(message, to, waits);
      }
      return message.id;
    },

    // Posts again, at once, on 408 and 500; after that the last answer is the answer.
    postMessageWithRetries(message, retries, callback) {
      let left = Number(retries) || 0;
      const attempt = () => bus.postMessage(message, (reply) => {
        const code = codeOf(reply.body);
        if ((code === 408 || code === 500) && left > 0) {
          left -= 1;
          attempt();
        } else if (typeof callback === 'function') {
          callback(reply);
        }
      });
      attempt();
    },

    // Connects two buses, crosswise.
    bind(outURL, inURL, target) {
      const thisListener = bus.addListener(outURL, (message) => target.postMessage(message));
      const targetListener = target.addListener(inURL, (message) => bus.postMessage(message));
      return {
        thisListener, targetListener,
        unbind() { thisListener.remove(); targetListener.remove(); },
      };
    },
  };

  api.bus = bus;
  // As `postMessage` of what nobody answers; says why it was refused.
  api.tryPost = (message) => {
    named(message);
    return send(message, message.to, false);
  };
  api.deliver = deliver;
  api.component = '';
})
