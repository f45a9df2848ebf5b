// The handler of connections with other runtimes: takes those who come over WebSocket.
//
// Entry: activate(url, bus, configuration) of an ES module, with the `listen` grant.
// Session: whoever came says `open` with its runtime's address to p2p:/session and is answered
// {code: 200, runtimeURL}; from then on messages go both ways as they are, one JSON text each.
//
// configuration:
//   runtimeURL     the runtime's address     (given by the runtime)
//   isHandlerStub  true                      (given by the runtime)

const SESSION = 'p2p:/session';
const REQUESTS = [
  'create', 'read', 'execute', 'subscribe', 'unsubscribe', 'delete', 'handshake', 'open',
];

// Bounds: everything that waits has a size and a time.
const MESSAGE_CHARACTERS = 192 * 1024;
const SOCKET_BUFFER_BYTES = 1024 * 1024;
const OPEN_MS = 10000;               // until somebody who came has said who it is
const QUESTIONS = 4096;              // of others, whose answers have to find their way back

const OPEN = 1;

class Handler {
  constructor(url, bus, configuration) {
    this._url = url;
    this._bus = bus;
    this._runtime = configuration.runtimeURL;
    this._guests = new Map();        // address of a runtime → guest
    this._questions = new Map();     // who asked and its id → guest
    this._server = new WebSocketServer();
    this._server.onconnection = ({ socket }) => this._came(socket);
    this._bus.addListener('*', (message) => this._outgoing(message));
    this._post({ type: 'update', from: url, to: url + '/status', body: { value: 'live' } });
  }

  disconnect() {
    this._server.close();
    [...this._guests.values()].forEach((guest) => guest.socket.close(1000));
  }

  // ----- who comes

  _came(socket) {
    const guest = { socket, domain: socket.peer, runtime: null, listener: null, changes: false };
    const timer = setTimeout(() => socket.close(4408, 'nobody said who came'), OPEN_MS);
    socket.onmessage = ({ data }) => {
      const message = parse(data);
      if (message === null) {
        console.warn(`${guest.domain} sent something that is no message`);
      } else if (guest.runtime !== null) {
        this._incoming(guest, message);
      } else if (message.type === 'open' && message.to === SESSION) {
        clearTimeout(timer);
        this._opened(guest, message);
      }
    };
    socket.onclose = () => {
      clearTimeout(timer);
      this._left(guest);
    };
  }

  // Its certificate is of the domain; which runtime of it, it says itself.
  _opened(guest, message) {
    const runtime = message.body && message.body.runtimeURL;
    const answer = (body) => guest.socket.send(JSON.stringify({
      id: message.id, type: 'response', from: SESSION, to: message.from, body,
    }));
    if (placeOf(runtime) === null || placeOf(runtime).domain !== guest.domain) {
      answer({ code: 403, desc: `${guest.domain} is not the domain of this runtime` });
      guest.socket.close(4403, 'not your runtime');
      return;
    }
    const before = this._guests.get(runtime);
    if (before !== undefined) {
      // It came again before it was known to have left.
      before.socket.close(4409, 'came again');
      this._left(before);
    }
    guest.runtime = runtime;
    this._guests.set(runtime, guest);
    this._say(guest, 'create', 'created');
    this._say(guest, 'update', 'in-progress');
    answer({ code: 200, runtimeURL: this._runtime });
    this._say(guest, 'update', 'live');
  }

  _left(guest) {
    if (guest.runtime === null || this._guests.get(guest.runtime) !== guest) {
      return;
    }
    this._guests.delete(guest.runtime);
    if (guest.listener !== null) {
      guest.listener.remove();
    }
    for (const [key, asker] of this._questions) {
      if (asker === guest) {
        this._questions.delete(key);
      }
    }
    this._say(guest, 'update', 'disconnected');
  }

  // The connection events of the seed: `resource` is the runtime at the other end.
  _say(guest, type, value) {
    const body = { value, resource: guest.runtime };
    this._post({ type, from: this._url, to: this._url + '/status', body });
  }

  // ----- from them

  _incoming(guest, message) {
    // For this stub least of all.
    const forged = claimsOf(message).find((claim) => (placeOf(claim) || {}).domain !== guest.domain);
    if (forged !== undefined) {
      console.warn(`${guest.domain} speaks for ${forged.slice(0, 200)}`);
      if (isRequest(message)) {
        const body = { code: 403, reason: 'forged', desc: 'the sender does not own the address in from' };
        this._send(guest, { id: message.id, type: 'response', from: message.to, to: message.from, body });
      }
      return;
    }
    if (isRequest(message)) {
      this._questions.set(keyOf(message.from, message.id), guest);
      if (this._questions.size > QUESTIONS) {
        this._questions.delete(this._questions.keys().next().value);
      }
    }
    if (message.to === this._runtime + '/registry') {
      guest.changes = message.type === 'subscribe' || (guest.changes && message.type !== 'unsubscribe');
    }
    this._post(marked(message, this._url));
  }

  // ----- towards them

  _outgoing(message) {
    if (!message || typeof message.to !== 'string') {
      return;
    }
    if (message.to === this._url) {
      this._forMe(message);
      return;
    }
    if (passed(message, this._url)) {
      return;
    }
    const peer = message.body ? message.body.peer : undefined;
    if (peer !== undefined) {
      delete message.body.peer;
    }
    if (message.to === this._runtime + '/registry/changes') {
      [...this._guests.values()].filter((guest) => guest.changes)
        .forEach((guest) => this._send(guest, message));
      return;
    }
    const guest = this._guestFor(message, peer);
    if (guest === undefined) {
      this._refuse(message, 503, 'peer-down', 'the other runtime is not connected');
    } else {
      this._send(guest, message);
    }
  }

  _guestFor(message, peer) {
    if (message.type === 'response') {
      const key = keyOf(message.to, message.id);
      const asker = this._questions.get(key);
      if (asker !== undefined) {
        const code = Number(message.body && message.body.code);
        if (!(code < 200)) {
          this._questions.delete(key);
        }
        return asker;
      }
    }
    if (peer !== undefined) {
      return this._guests.get(peer);
    }
    const to = placeOf(message.to);
    return to === null ? undefined : [...this._guests.values()].find((guest) => guest.domain === to.domain);
  }

  _send(guest, message) {
    const text = JSON.stringify(message);
    if (text.length > MESSAGE_CHARACTERS) {
      this._refuse(message, 413, 'too-large', 'too large for a connection with a runtime');
    } else if (guest.socket.readyState !== OPEN || guest.socket.bufferedAmount > SOCKET_BUFFER_BYTES) {
      this._refuse(message, 503, 'slow-consumer', 'the other runtime does not take its messages fast enough');
    } else {
      guest.socket.send(text);
    }
  }

  _refuse(message, code, reason, desc) {
    if (isRequest(message)) {
      const body = { code, reason, desc, via: this._url };
      this._post({ id: message.id, type: 'response', from: message.to, to: message.from, body });
    }
  }

  // ----- what the runtime says to the stub itself

  _forMe(message) {
    if (!isRequest(message)) {
      return;
    }
    const list = message.body && (message.body.subscribe || message.body.unsubscribe);
    let body = { code: 501, desc: 'the stub offers subscribe and unsubscribe of connections' };
    if (Array.isArray(list) && (message.type === 'subscribe' || message.type === 'unsubscribe')) {
      const found = list.every((address) => this._listen(address, message.type === 'subscribe'));
      body = found ? { code: 200 } : { code: 404, desc: 'there is no such connection' };
    }
    this._post({ id: message.id, type: 'response', from: this._url, to: message.from, body });
  }

  // The address of a connection is below the handler's and says with whom it is.
  _listen(address, wanted) {
    const place = String(address).slice(this._url.length + 1);
    const guest = [...this._guests.values()].find(({ runtime }) => runtime.endsWith('://' + place));
    if (guest === undefined || !String(address).startsWith(this._url + '/')) {
      return false;
    }
    if (guest.listener !== null) {
      guest.listener.remove();
      guest.listener = null;
    }
    if (wanted) {
      guest.listener = this._bus.addListener(address, (message) => this._forGuest(guest, message));
    }
    return true;
  }

  // To the connection itself: it may be ended.
  _forGuest(guest, message) {
    if (isRequest(message)) {
      const ends = message.type === 'execute' && message.body && message.body.method === 'disconnect';
      const body = ends ? { code: 200 } : { code: 501, desc: 'a connection offers disconnect' };
      this._post({ id: message.id, type: 'response', from: message.to, to: message.from, body });
      if (ends) {
        guest.socket.close(1000, 'ended');
      }
    }
  }

  _post(message) {
    this._bus.postMessage(message);
  }
}

const keyOf = (address, id) => `${address}\u0000${id}`;

function isRequest(message) {
  return typeof message.type === 'string' && REQUESTS.includes(message.type.toLowerCase());
}

// Domain and path of an address, or null.
function placeOf(address) {
  const match = /^[a-z0-9+.-]+:\/\/([^/@]+)((?:\/[^/]+)*)\/?$/i.exec(String(address));
  return match === null ? null : { domain: match[1].toLowerCase(), path: match[2] };
}

// For whom a message says that it speaks.
function claimsOf(message) {
  const body = message.body !== null && typeof message.body === 'object' ? message.body : {};
  return [message.from, body.source, body.subscriber, body.reporter]
    .filter((claim) => typeof claim === 'string');
}

// A message that came in here must not go back.
function passed(message, url) {
  const via = message.body && message.body.via;
  return via === url || (Array.isArray(via) && via.includes(url));
}

function marked(message, url) {
  const body = message.body === undefined || message.body === null ? {} : message.body;
  if (typeof body === 'object' && !Array.isArray(body)) {
    // The mark is a list only where the sender keeps a list.
    body.via = Array.isArray(body.via) ? body.via.concat(url) : url;
    message.body = body;
  }
  return message;
}

// A message, or null.
function parse(data) {
  if (typeof data !== 'string' || data.length > 2 * MESSAGE_CHARACTERS) {
    return null;
  }
  let message;
  try {
    message = JSON.parse(data);
  } catch (error) {
    return null;
  }
  const whole = message !== null && typeof message === 'object' &&
    ['type', 'from', 'to'].every((key) => typeof message[key] === 'string');
  return whole ? message : null;
}

export default function activate(url, bus, configuration) {
  return { name: 'p2p-handler', instance: new Handler(url, bus, configuration) };
}
