// WebSocket over a stream that the host gives. Failing connects are delayed by the host.
(function (host, global, api) {
  'use strict';

  const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];
  const sockets = new Map();
  const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

  class WebSocket extends EventTarget {
    constructor(url, protocols = []) {
      super();
      const list = (Array.isArray(protocols) ? protocols : [protocols]).map(String);
      if (list.some((name) => !TOKEN.test(name)) || new Set(list).size !== list.length) {
        throw new DOMException('a subprotocol is no token, or there twice', 'SyntaxError');
      }
      this.readyState = CONNECTING;
      this.bufferedAmount = 0;
      this.protocol = '';
      this.extensions = '';
      this.binaryType = 'arraybuffer';
      this.onopen = null;
      this.onmessage = null;
      this.onerror = null;
      this.onclose = null;
      const opened = host.wsOpen(String(url).toWellFormed(), list.join(', '));
      if (opened.error !== undefined) {
        throw new DOMException(opened.error, 'SyntaxError');
      }
      this.url = opened.url;
      this._conn = opened.conn;
      sockets.set(this._conn, this);
    }

    send(data) {
      if (this.readyState === CONNECTING) {
        throw new DOMException('the socket is not open yet', 'InvalidStateError');
      }
      const bytes = typeof data === 'object' && data !== null ? api.bytes(data) : undefined;
      if (this.readyState !== OPEN) {
        this.bufferedAmount += bytes ? bytes.byteLength : String(data).length;
        return;
      }
      const taken = bytes === undefined
        ? host.wsText(this._conn, String(data).toWellFormed())
        : host.wsBinary(this._conn, api.latin(bytes));
      if (taken < 0) {
        // As a browser does when its buffer is full: the connection is failed.
        host.log(1, `the buffer of ${this.url} is full: closed`);
        host.wsClose(this._conn, 0, '');
        this._closed(1006, '', false, true);
        return;
      }
      this.bufferedAmount += taken;
    }

    close(code, reason = '') {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) {
        throw new DOMException('the close code must be 1000 or 3000 to 4999', 'InvalidAccessError');
      }
      const text = String(reason).toWellFormed();
      if (host.encode(text).byteLength > 123) {
        throw new DOMException('the close reason is over 123 bytes', 'SyntaxError');
      }
      if (this.readyState === CLOSING || this.readyState === CLOSED) {
        return;
      }
      const early = this.readyState === CONNECTING;
      this.readyState = CLOSING;
      host.wsClose(this._conn, code === undefined ? 1005 : code, text);
      if (early) {
        api.after(1, () => this._closed(1006, '', false, true));
      }
    }

    _closed(code, reason, wasClean, failed) {
      if (this.readyState === CLOSED) {
        return;
      }
      sockets.delete(this._conn);
      this.readyState = CLOSED;
      if (failed) {
        this.dispatchEvent(new Event('error'));
      }
      this.dispatchEvent(new CloseEvent('close', { code, reason, wasClean }));
    }
  }
  Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED }).forEach(([name, value]) => {
    Object.defineProperty(WebSocket, name, { value, enumerable: true });
    Object.defineProperty(WebSocket.prototype, name, { value, enumerable: true });
  });

  // Connections that come in. The runtime listens, speaks TLS and knows whose certificate it is; a
  // component with the `listen` grant is given each as an open WebSocket whose `peer` is the domain
  // of the runtime at its other end.
  let server = null;

  class WebSocketServer extends EventTarget {
    constructor() {
      super();
      if (!host.listens()) {
        throw new DOMException('the listen grant is missing', 'NotAllowedError');
      }
      if (server !== null) {
        throw new DOMException('there is a server already', 'InvalidStateError');
      }
      this.onconnection = null;
      server = this;
    }

    // Takes no more; those who are here stay.
    close() {
      if (server === this) {
        server = null;
      }
    }
  }

  api.wsAccepted = (conn, peer, from) => {
    if (server === null) {
      host.wsClose(conn, 0, '');
      return;
    }
    const socket = Object.assign(Object.create(WebSocket.prototype), {
      readyState: OPEN, bufferedAmount: 0, protocol: '', extensions: '', binaryType: 'arraybuffer',
      onopen: null, onmessage: null, onerror: null, onclose: null, url: `wss://${peer}/`, peer, from, _conn: conn,
    });
    sockets.set(conn, socket);
    server.dispatchEvent(Object.assign(new Event('connection'), { socket }));
  };
  api.define('WebSocketServer', WebSocketServer);

  api.wsOpened = (conn, protocol) => {
    const socket = sockets.get(conn);
    if (socket !== undefined && socket.readyState === CONNECTING) {
      socket.readyState = OPEN;
      socket.protocol = protocol;
      socket.dispatchEvent(new Event('open'));
    }
  };
  api.wsMessage = (conn, data) => {
    const socket = sockets.get(conn);
    if (socket !== undefined && socket.readyState === OPEN) {
      socket.dispatchEvent(new MessageEvent('message', { data, origin: socket.url }));
    }
  };
  api.wsSent = (conn, count) => {
    const socket = sockets.get(conn);
    if (socket !== undefined) {
      socket.bufferedAmount = Math.max(0, socket.bufferedAmount - count);
    }
  };
  api.wsClosed = (conn, code, reason, wasClean, error) => {
    const socket = sockets.get(conn);
    if (socket !== undefined) {
      if (error !== '') {
        host.log(1, `${socket.url}: ${error}`);
      }
      socket._closed(code, reason, wasClean, error !== '');
    }
  };
  api.define('WebSocket', WebSocket);
})
