// A protostub for message nodes that speak JSON text over WebSocket with sessions.
//
// Entry: activate(url, bus, configuration) of an ES module.
// Session: `open` from <runtimeURL> to mn:/session is answered {code: 200, runtimeToken}; from then on
// the session is <runtimeURL>/<token>, a lost connection is resumed with `re-open`, and `close` ends it.
//
// configuration:
//   url         where the node listens, ws:// or wss://            (required)
//   runtimeURL  the runtime's address                              (given by the runtime)
//   lazy        true: connect with the first message, not at once  (default false)

const SESSION = 'mn:/session';
const REQUESTS = [
  'create', 'read', 'execute', 'subscribe', 'unsubscribe', 'delete', 'handshake', 'open',
];

// Bounds: everything that waits has a size and a time.
const QUEUE_MESSAGES = 256;          // messages waiting for the session
const QUEUE_CHARACTERS = 1024 * 1024;
const QUEUE_AGE_MS = 15000;          // the deadline of a request that names none
const MESSAGE_CHARACTERS = 1024 * 1024;
const SOCKET_BUFFER_BYTES = 1024 * 1024;
const CONNECT_MS = 10000;
const SESSION_MS = 3000;
const FLUSH_MS = 50;                 // look again at a socket that is full
const BACKOFF_FIRST_MS = 250;
const BACKOFF_LAST_MS = 30000;

const OPEN = 1;
const AWAY = 'the message node cannot be reached';

class MessageNodeStub {
  constructor(url, bus, configuration) {
    this._url = url;
    this._bus = bus;
    this._configuration = configuration;
    this._wanted = true;             // false after disconnect()
    this._socket = null;
    this._token = null;
    this._state = 'idle';            // idle, connecting, opening, live, waiting
    this._status = null;
    this._request = null;            // {id, type} of the open or re-open on its way
    this._lastId = 0;
    this._queue = [];
    this._queued = 0;
    this._backoff = BACKOFF_FIRST_MS;
    this._away = false;              // the last attempt to reach the node failed
    this._timer = null;
    this._flush = null;

    this._bus.addListener('*', (message) => this._outgoing(message));
    this._publish('created');
    if (!configuration.lazy) {
      this.connect();
    }
  }

  get status() {
    return this._status;
  }

  // Connects, unless that is under way. After this, a lost connection is made again.
  connect() {
    this._wanted = true;
    if (this._state === 'idle' || this._state === 'waiting') {
      this._dial();
    }
  }

  // Closes the session and stays away until connect() is called.
  disconnect() {
    this._wanted = false;
    if (this._state === 'live') {
      this._send({ id: this._nextId(), type: 'close', from: this._session(), to: SESSION });
    }
    this._token = null;
    this._drop();
    this._state = 'idle';
    this._publish('disconnected');
    this._refuseQueue('disconnected on request');
  }

  // ----- towards the node

  _outgoing(message) {
    if (!message || typeof message.to !== 'string') {
      return;
    }
    if (message.to === this._url || message.to.startsWith(this._url + '/')) {
      this._forMe(message);
      return;
    }
    if (this._passedHere(message)) {
      return;
    }
    if (!this._wanted) {
      this._refuse(message, 503, 'the stub was told to disconnect');
      return;
    }
    if (this._away) {
      this._refuse(message, 503, AWAY);
      return;
    }
    const text = JSON.stringify(message);
    if (text.length > MESSAGE_CHARACTERS) {
      this._refuse(message, 413, 'too large for the message node');
      return;
    }
    if (this._queue.length === 0 && this._ready()) {
      this._socket.send(text);
      return;
    }
    const fits = this._queue.length < QUEUE_MESSAGES &&
      this._queued + text.length <= QUEUE_CHARACTERS;
    if (!fits) {
      this._refuse(message, 503, 'too many messages wait for the message node');
      return;
    }
    this._queue.push({ message, text, since: Date.now() });
    this._queued += text.length;
    if (this._state === 'live') {
      this._flushLater();
    } else {
      // A message is a reason to try, but no reason to try more often than the backoff allows.
      if (this._state === 'idle') {
        this._dial();
      }
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

  // A message that this stub brought in must not go back to where it came from.
  _passedHere(message) {
    const via = message.body && message.body.via;
    return via === this._url || (Array.isArray(via) && via.includes(this._url));
  }

  _ready() {
    return this._state === 'live' && this._socket.readyState === OPEN &&
      !(this._socket.bufferedAmount > SOCKET_BUFFER_BYTES);
  }

  _flushQueue() {
    const now = Date.now();
    while (this._queue.length > 0 && this._ready()) {
      const first = this._queue.shift();
      this._queued -= first.text.length;
      // Whoever asked has been told by the runtime that the time is over.
      const expired = isRequest(first.message) && now - first.since > QUEUE_AGE_MS;
      if (!expired) {
        this._socket.send(first.text);
      }
    }
    if (this._queue.length > 0 && this._state === 'live') {
      this._flushLater();
    }
  }

  _flushLater() {
    if (this._flush === null) {
      this._flush = setTimeout(() => {
        this._flush = null;
        this._flushQueue();
      }, FLUSH_MS);
    }
  }

  _refuseQueue(desc) {
    const queue = this._queue;
    this._queue = [];
    this._queued = 0;
    queue.forEach((entry) => this._refuse(entry.message, 503, desc));
  }

  _refuse(message, code, desc) {
    if (isRequest(message)) {
      const body = { code, desc, via: this._url };
      this._post({ id: message.id, type: 'response', from: message.to, to: message.from, body });
    }
  }

  // ----- from the node

  _incoming(socket, data) {
    if (socket !== this._socket) {
      return;
    }
    const message = parse(data);
    if (message === null) {
      console.warn('the message node sent something that is no message');
      return;
    }
    if (message.from === SESSION) {
      this._sessionAnswer(message);
      return;
    }
    if (this._state !== 'live') {
      return;
    }
    const body = message.body === undefined || message.body === null ? {} : message.body;
    if (typeof body === 'object' && !Array.isArray(body)) {
      // The mark is a list only where the sender keeps a list.
      body.via = Array.isArray(body.via) ? body.via.concat(this._url) : this._url;
      message.body = body;
    }
    this._post(message);
  }

  _sessionAnswer(message) {
    const request = this._request;
    if (request === null || String(message.id) !== String(request.id)) {
      return;
    }
    this._request = null;
    const body = message.body || {};
    const code = Number(body.code);
    if (code === 200) {
      if (typeof body.runtimeToken === 'string' && body.runtimeToken !== '') {
        this._token = body.runtimeToken;
      }
      clearTimeout(this._timer);
      this._state = 'live';
      this._away = false;
      this._backoff = BACKOFF_FIRST_MS;
      this._publish('live');
      this._flushQueue();
    } else if (request.type === 're-open') {
      // The node has forgotten the session: a new one will do.
      this._token = null;
      this._ask('open');
    } else {
      this._lost('failed', 'the message node refused the session: ' + (body.desc || code));
    }
  }

  // ----- the connection

  _dial() {
    this._drop();
    this._state = 'connecting';
    // Attempts after the first are announced by their success alone.
    if (this._status !== 'disconnected' && this._status !== 'failed') {
      this._publish('in-progress');
    }
    let socket;
    try {
      socket = new WebSocket(this._configuration.url);
    } catch (error) {
      this._lost('failed', 'cannot connect: ' + error.message);
      return;
    }
    this._socket = socket;
    this._timer = setTimeout(() => this._lost('disconnected', 'no connection in time'), CONNECT_MS);
    socket.onopen = () => {
      if (socket === this._socket) {
        this._state = 'opening';
        this._ask(this._token === null ? 'open' : 're-open');
      }
    };
    socket.onmessage = (event) => this._incoming(socket, event.data);
    socket.onerror = () => {};       // a close follows
    socket.onclose = (event) => {
      if (socket === this._socket) {
        this._lost('disconnected', 'connection closed' + (event && event.code ? ': ' + event.code : ''));
      }
    };
  }

  _ask(type) {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._lost('disconnected', 'Timeout from ' + SESSION), SESSION_MS);
    const from = type === 'open' ? this._configuration.runtimeURL : this._session();
    this._request = { id: this._nextId(), type };
    this._send({ id: this._request.id, type, from, to: SESSION });
  }

  // The connection is of no use any more: say so once, and try again later. Who lost a connection
  // may have it back at once, and what comes meanwhile waits; who could not get one has none to wait
  // for.
  _lost(status, desc) {
    this._away = this._state !== 'live';
    this._drop();
    this._publish(status, desc);
    if (this._away) {
      this._refuseQueue(AWAY);
    }
    if (!this._wanted) {
      this._state = 'idle';
      return;
    }
    this._state = 'waiting';
    const wait = this._backoff * (0.8 + 0.4 * Math.random());
    this._backoff = Math.min(this._backoff * 2, BACKOFF_LAST_MS);
    this._timer = setTimeout(() => this._dial(), wait);
  }

  // Lets go of the socket and of every timer.
  _drop() {
    clearTimeout(this._timer);
    clearTimeout(this._flush);
    this._timer = null;
    this._flush = null;
    this._request = null;
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

  _send(message) {
    if (this._socket !== null && this._socket.readyState === OPEN) {
      this._socket.send(JSON.stringify(message));
    }
  }

  _session() {
    return this._configuration.runtimeURL + '/' + this._token;
  }

  _nextId() {
    this._lastId += 1;
    return this._lastId;
  }

  // ----- towards the runtime

  _post(message) {
    this._bus.postMessage(message);
  }

  _publish(value, desc) {
    if (value === this._status) {
      return;
    }
    this._status = value;
    const body = { value };
    if (desc) {
      body.desc = desc;
    }
    this._post({ type: 'update', from: this._url, to: this._url + '/status', body });
  }
}

function isRequest(message) {
  return typeof message.type === 'string' && REQUESTS.includes(message.type.toLowerCase());
}

// A message of the node, or null.
function parse(data) {
  if (typeof data !== 'string' || data.length > MESSAGE_CHARACTERS) {
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
  if (!configuration || typeof configuration.url !== 'string') {
    throw new Error('configuration.url must name the message node');
  }
  return { name: 'message-node', instance: new MessageNodeStub(url, bus, configuration) };
}
