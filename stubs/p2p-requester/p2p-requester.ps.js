// The requester of a connection with another runtime: goes to where it listens, over WebSocket.
//
// Entry: activate(url, bus, configuration) of an ES module.
// Session: `open` with the runtime's own address to p2p:/session is answered {code: 200, runtimeURL}
// with that of the other; from then on messages go both ways as they are, one JSON text each.
//
// configuration:
//   url               where the other listens, wss://        (given by the runtime, as all of these)
//   remoteDomain      the domain of the other runtime
//   runtimeURL        the runtime's own address
//   p2pRequesterStub  true

const SESSION = 'p2p:/session';
const REQUESTS = [
  'create', 'read', 'execute', 'subscribe', 'unsubscribe', 'delete', 'handshake', 'open',
];

// Bounds: everything that waits has a size and a time.
const MESSAGE_CHARACTERS = 192 * 1024;
const SOCKET_BUFFER_BYTES = 1024 * 1024;
const QUEUE_MESSAGES = 256;          // messages that wait until they may be sent
const SEND_PER_SECOND = 400;         // below what the other side takes of one connection
const SEND_BURST = 800;
const PACE_MS = 20;
const CONNECT_MS = 4000;             // until the other side has answered
const BACKOFF_FIRST_MS = 250;
const BACKOFF_LAST_MS = 30000;

const OPEN = 1;

class Requester {
  constructor(url, bus, configuration) {
    this._url = url;
    this._bus = bus;
    this._configuration = configuration;
    this._socket = null;
    this._live = false;
    this._remote = null;             // the runtime at the other end
    this._status = null;
    this._wanted = true;             // false after disconnect()
    this._timer = null;
    this._pace = null;
    this._queue = [];
    this._tokens = SEND_BURST;
    this._paced = Date.now();
    this._backoff = BACKOFF_FIRST_MS;

    this._bus.addListener('*', (message) => this._outgoing(message));
    this._say('created');
    this._dial();
  }

  // Connects, unless that is under way.
  connect() {
    this._wanted = true;
    if (this._socket === null) {
      this._dial();
    }
  }

  // Closes the connection and stays away until connect() is called.
  disconnect() {
    this._wanted = false;
    this._lost('disconnected', 'disconnected on request');
  }

  // ----- the connection

  _dial() {
    this._drop();
    // Attempts after one that failed are announced by their success alone.
    if (this._status !== 'failed') {
      this._say('in-progress');
    }
    let socket;
    try {
      socket = new WebSocket(this._configuration.url);
    } catch (error) {
      this._lost('failed', 'cannot connect: ' + error.message);
      return;
    }
    this._socket = socket;
    this._timer = setTimeout(() => this._lost('failed', 'no connection in time'), CONNECT_MS);
    socket.onopen = () => {
      const own = this._configuration.runtimeURL;
      socket.send(JSON.stringify({
        id: 1, type: 'open', from: own, to: SESSION, body: { runtimeURL: own },
      }));
    };
    socket.onmessage = ({ data }) => this._incoming(socket, data);
    socket.onerror = () => {};       // a close follows
    socket.onclose = (event) => {
      if (socket === this._socket) {
        const why = 'connection closed' + (event && event.code ? ': ' + event.code : '');
        this._lost(this._live ? 'disconnected' : 'failed', why);
      }
    };
  }

  _opened(message) {
    const body = message.body || {};
    const remote = placeOf(body.runtimeURL);
    if (Number(body.code) !== 200 || remote === null || remote.domain !== this._configuration.remoteDomain) {
      this._lost('failed', 'the other runtime refused: ' + (body.desc || body.code));
      return;
    }
    clearTimeout(this._timer);
    this._remote = body.runtimeURL;
    this._live = true;
    this._backoff = BACKOFF_FIRST_MS;
    this._say('live');
  }

  // The connection is of no use any more: say so once, and try again later.
  _lost(status, desc) {
    const queue = this._queue;
    this._queue = [];
    this._drop();
    this._say(status, desc);
    queue.forEach((message) => this._refuse(message, 503, 'peer-down', desc));
    if (this._wanted) {
      const wait = this._backoff * (0.8 + 0.4 * Math.random());
      this._backoff = Math.min(this._backoff * 2, BACKOFF_LAST_MS);
      this._timer = setTimeout(() => this._dial(), wait);
    }
  }

  // Lets go of the socket and of every timer.
  _drop() {
    clearTimeout(this._timer);
    clearTimeout(this._pace);
    this._timer = null;
    this._pace = null;
    this._live = false;
    const socket = this._socket;
    this._socket = null;
    if (socket !== null) {
      try {
        socket.close();
      } catch (error) {
        console.warn('close: ' + error.message);
      }
    }
  }

  // The connection events of the seed: `resource` is the runtime at the other end.
  _say(value, desc) {
    if (value === this._status) {
      return;
    }
    const type = this._status === null ? 'create' : 'update';
    this._status = value;
    const body = { value };
    if (this._remote !== null) {
      body.resource = this._remote;
    }
    if (desc) {
      body.desc = desc;
    }
    this._post({ type, from: this._url, to: this._url + '/status', body });
  }

  // ----- from the other side

  _incoming(socket, data) {
    if (socket !== this._socket) {
      return;
    }
    const message = parse(data);
    if (message === null) {
      console.warn('the other runtime sent something that is no message');
    } else if (this._live && forged(message, this._configuration.remoteDomain)) {
      console.warn('the other runtime speaks for somebody of another domain');
      if (isRequest(message)) {
        const body = { code: 403, reason: 'forged', desc: 'the sender does not own the address in from' };
        const answer = { id: message.id, type: 'response', from: message.to, to: message.from, body };
        socket.send(JSON.stringify(answer));
      }
    } else if (this._live) {
      this._post(marked(message, this._url));
    } else if (message.from === SESSION && message.type === 'response') {
      this._opened(message);
    }
  }

  // ----- towards it

  _outgoing(message) {
    if (!message || typeof message.to !== 'string') {
      return;
    }
    if (message.to === this._url || message.to.startsWith(this._url + '/')) {
      this._forMe(message);
      return;
    }
    if (passed(message, this._url)) {
      return;
    }
    if (message.body && message.body.peer !== undefined) {
      delete message.body.peer;
    }
    if (!this._live) {
      this._refuse(message, 503, 'peer-down', 'the other runtime is not connected');
    } else if (JSON.stringify(message).length > MESSAGE_CHARACTERS) {
      this._refuse(message, 413, 'too-large', 'too large for a connection with a runtime');
    } else if (this._queue.length >= QUEUE_MESSAGES) {
      this._refuse(message, 503, 'slow-consumer', 'too many messages wait for the other runtime');
    } else {
      this._queue.push(message);
      this._flush();
    }
  }

  // Sends what may be sent now: the other side ends connections that send too fast.
  _flush() {
    const now = Date.now();
    const earned = Math.max(0, now - this._paced) * SEND_PER_SECOND / 1000;
    this._tokens = Math.min(SEND_BURST, this._tokens + earned);
    this._paced = now;
    while (this._queue.length > 0 && this._tokens >= 1 && this._ready()) {
      this._tokens -= 1;
      this._socket.send(JSON.stringify(this._queue.shift()));
    }
    if (this._queue.length > 0 && this._pace === null) {
      this._pace = setTimeout(() => {
        this._pace = null;
        this._flush();
      }, PACE_MS);
    }
  }

  _ready() {
    return this._live && this._socket.readyState === OPEN &&
      !(this._socket.bufferedAmount > SOCKET_BUFFER_BYTES);
  }

  _refuse(message, code, reason, desc) {
    if (isRequest(message)) {
      const body = { code, reason, desc, via: this._url };
      this._post({ id: message.id, type: 'response', from: message.to, to: message.from, body });
    }
  }

  // What the runtime says to the stub itself.
  _forMe(message) {
    if (message.to !== this._url || !isRequest(message)) {
      return;
    }
    const method = message.type === 'execute' && message.body ? message.body.method : undefined;
    let body = { code: 501, desc: 'the stub offers execute with method connect or disconnect' };
    if (method === 'connect' || method === 'disconnect') {
      this[method]();
      body = { code: 200 };
    }
    this._post({ id: message.id, type: 'response', from: this._url, to: message.from, body });
  }

  _post(message) {
    this._bus.postMessage(message);
  }
}

function isRequest(message) {
  return typeof message.type === 'string' && REQUESTS.includes(message.type.toLowerCase());
}

// Domain and path of an address, or null.
function placeOf(address) {
  const match = /^[a-z0-9+.-]+:\/\/([^/@]+)((?:\/[^/]+)*)\/?$/i.exec(String(address));
  return match === null ? null : { domain: match[1].toLowerCase(), path: match[2] };
}

// Whether a message says that it speaks for somebody of another domain.
function forged(message, domain) {
  const body = message.body !== null && typeof message.body === 'object' ? message.body : {};
  return [message.from, body.source, body.subscriber, body.reporter]
    .filter((claim) => typeof claim === 'string')
    .some((claim) => (placeOf(claim) || {}).domain !== domain);
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
  return { name: 'p2p-requester', instance: new Requester(url, bus, configuration) };
}
