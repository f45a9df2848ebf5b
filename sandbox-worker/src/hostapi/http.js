// XMLHttpRequest (asynchronous) and a small fetch, on one native exchange.
(function (host, global, api) {
  'use strict';

  const [UNSENT, OPENED, HEADERS_RECEIVED, LOADING, DONE] = [0, 1, 2, 3, 4];
  const FORBIDDEN = /^(host|connection|content-length|transfer-encoding|upgrade|te|trailer|keep-alive|expect|date|via|accept-encoding|cookie2?|origin|proxy-.*|sec-.*)$/i;
  const exchanges = new Map();   // number → {head, chunk, end, fail}

  const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
  const headerOf = (name, value) => {
    const text = String(value).toWellFormed().trim();
    if (!TOKEN.test(name) || /[\r\n\0]/.test(text)) {
      throw new DOMException(`${name} is no proper header`, 'SyntaxError');
    }
    return [String(name), text];
  };

  // A body as bytes, and the type that it has by itself.
  const bodyOf = (body) => {
    if (body === null || body === undefined) {
      return [undefined, ''];
    }
    const bytes = api.bytes(body);
    if (bytes !== undefined) {
      return [bytes, ''];
    }
    const form = body instanceof URLSearchParams;
    const type = form ? 'application/x-www-form-urlencoded;charset=UTF-8' : 'text/plain;charset=UTF-8';
    return [host.encode(String(body).toWellFormed()), type];
  };

  const start = (method, url, headers, body, handlers) => {
    const [bytes, type] = bodyOf(body);
    if (type !== '' && !headers.some(([name]) => name.toLowerCase() === 'content-type')) {
      headers.push(['Content-Type', type]);
    }
    const begun = host.http(method, url, headers.flat(), bytes === undefined ? '' : api.latin(bytes));
    if (begun.error !== undefined) {
      throw new TypeError(begun.error);
    }
    exchanges.set(begun.conn, handlers);
    return begun.conn;
  };
  const stop = (conn) => {
    if (exchanges.delete(conn)) {
      host.httpAbort(conn);
    }
  };

  api.httpHead = (conn, status, statusText, headers, url) => {
    const exchange = exchanges.get(conn);
    if (exchange !== undefined) {
      const pairs = [];
      for (let at = 0; at + 1 < headers.length; at += 2) {
        pairs.push([headers[at], headers[at + 1]]);
      }
      exchange.head(status, statusText, pairs, url);
    }
  };
  api.httpChunk = (conn, bytes) => {
    const exchange = exchanges.get(conn);
    if (exchange !== undefined) {
      exchange.chunk(bytes);
    }
  };
  api.httpEnd = (conn, error) => {
    const exchange = exchanges.get(conn);
    exchanges.delete(conn);
    if (exchange !== undefined) {
      if (error === '') {
        exchange.end();
      } else {
        exchange.fail(error);
      }
    }
  };

  const join = (chunks) => {
    if (chunks.length === 1) {
      return chunks[0];
    }
    const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
    let at = 0;
    for (const chunk of chunks) {
      all.set(new Uint8Array(chunk), at);
      at += chunk.byteLength;
    }
    return all.buffer;
  };
  const lookUp = (headers, name) => {
    const found = headers.filter(([key]) => key.toLowerCase() === String(name).toLowerCase());
    return found.length === 0 ? null : found.map((pair) => pair[1]).join(', ');
  };

  class XMLHttpRequestUpload extends EventTarget {}

  class XMLHttpRequest extends EventTarget {
    constructor() {
      super();
      this.timeout = 0;
      this.withCredentials = false;
      this.responseType = '';
      this.upload = new XMLHttpRequestUpload();
      for (const type of ['readystatechange', 'loadstart', 'progress', 'load', 'error', 'abort', 'timeout', 'loadend']) {
        this[`on${type}`] = null;
      }
      this._reset(UNSENT);
    }
    _reset(state) {
      this.readyState = state;
      this.status = 0;
      this.statusText = '';
      this.responseURL = '';
      this._chunks = [];
      this._received = 0;
      this._headers = [];
      this._text = undefined;
    }
    open(method, url, async = true) {
      if (async === false) {
        throw new DOMException('a synchronous request would stop the sandbox', 'InvalidAccessError');
      }
      this._stop();
      this._method = String(method).toUpperCase();
      this._url = new URL(url, global.location.href).href;
      this._request = [];
      this._reset(OPENED);
      this._event('readystatechange');
    }
    setRequestHeader(name, value) {
      if (this.readyState !== OPENED || this._conn !== undefined) {
        throw new DOMException('the request is not open', 'InvalidStateError');
      }
      const header = headerOf(name, value);
      if (FORBIDDEN.test(name)) {
        return;
      }
      const same = this._request.find(([key]) => key.toLowerCase() === header[0].toLowerCase());
      if (same) {
        same[1] += `, ${header[1]}`;
      } else {
        this._request.push(header);
      }
    }
    send(body = null) {
      if (this.readyState !== OPENED || this._conn !== undefined) {
        throw new DOMException('the request is not open', 'InvalidStateError');
      }
      const sent = /^(GET|HEAD)$/.test(this._method) ? null : body;
      this._conn = start(this._method, this._url, this._request, sent, {
        head: (status, statusText, headers, url) => {
          Object.assign(this, { status, statusText, responseURL: url, _headers: headers });
          this._state(HEADERS_RECEIVED);
        },
        chunk: (bytes) => {
          this._chunks.push(bytes);
          this._received += bytes.byteLength;
          this._text = undefined;
          this._state(LOADING);
          this._event('progress');
        },
        end: () => this._finish('load'),
        fail: (text) => {
          host.log(1, `${this._method} ${this._url}: ${text}`);
          this._finish('error');
        },
      });
      if (this.timeout > 0) {
        this._timer = api.after(this.timeout, () => {
          stop(this._conn);
          this._finish('timeout');
        });
      }
      this._event('loadstart');
    }
    abort() {
      const under = this._conn !== undefined;
      this._stop();
      if (under) {
        this._finish('abort');
      }
      this.readyState = UNSENT;
    }
    overrideMimeType() {}
    getResponseHeader(name) { return lookUp(this._headers, name); }
    getAllResponseHeaders() {
      return this._headers.map(([name, value]) => `${name.toLowerCase()}: ${value}\r\n`).join('');
    }
    get responseText() {
      if (this.responseType !== '' && this.responseType !== 'text') {
        throw new DOMException('the response is no text', 'InvalidStateError');
      }
      if (this._text === undefined) {
        this._text = this._chunks.length === 0 ? '' : api.text(join(this._chunks), false);
      }
      return this._text;
    }
    get response() {
      if (this.responseType === '' || this.responseType === 'text') {
        return this.responseText;
      }
      if (this.readyState !== DONE || this.status === 0) {
        return null;
      }
      const bytes = join(this._chunks);
      this._chunks = [bytes];
      if (this.responseType === 'json') {
        try {
          return JSON.parse(api.text(bytes, false));
        } catch (_) {
          return null;
        }
      }
      return bytes;
    }
    get responseXML() { return null; }
    _event(type) { this.dispatchEvent(new ProgressEvent(type, { loaded: this._received })); }
    _state(state) { this.readyState = state; this._event('readystatechange'); }
    _stop() {
      api.cancel(this._timer);
      stop(this._conn);
      this._conn = undefined;
    }
    _finish(how) {
      api.cancel(this._timer);
      this._conn = undefined;
      if (how !== 'load') {
        this._reset(DONE);
      }
      this._state(DONE);
      this._event(how);
      this._event('loadend');
    }
  }
  Object.entries({ UNSENT, OPENED, HEADERS_RECEIVED, LOADING, DONE }).forEach(([name, value]) => {
    Object.defineProperty(XMLHttpRequest, name, { value, enumerable: true });
    Object.defineProperty(XMLHttpRequest.prototype, name, { value, enumerable: true });
  });

  class Headers {
    constructor(init = {}) {
      this._pairs = [];
      const pairs = init instanceof Headers ? init._pairs
        : Array.isArray(init) ? init : Object.entries(init || {});
      for (const [name, value] of pairs) { this.append(name, value); }
    }
    append(name, value) {
      const [key, text] = headerOf(name, value);
      const same = this._pairs.find((pair) => pair[0] === key.toLowerCase());
      if (same) { same[1] += `, ${text}`; } else { this._pairs.push([key.toLowerCase(), text]); }
    }
    delete(name) { this._pairs = this._pairs.filter((pair) => pair[0] !== String(name).toLowerCase()); }
    get(name) { return lookUp(this._pairs, name); }
    has(name) { return this.get(name) !== null; }
    set(name, value) { this.delete(name); this.append(name, value); }
    forEach(call, self) { for (const [name, value] of this._pairs) { call.call(self, value, name, this); } }
    keys() { return this._pairs.map((pair) => pair[0])[Symbol.iterator](); }
    values() { return this._pairs.map((pair) => pair[1])[Symbol.iterator](); }
    entries() { return this._pairs.map((pair) => pair.slice())[Symbol.iterator](); }
    [Symbol.iterator]() { return this.entries(); }
  }

  class Response {
    constructor(body = null, init = {}) {
      this.status = init.status === undefined ? 200 : init.status;
      this.statusText = init.statusText || '';
      this.ok = this.status >= 200 && this.status < 300;
      this.headers = new Headers(init.headers);
      this.url = init.url || '';
      this.redirected = Boolean(init.redirected);
      this.type = 'basic';
      this.bodyUsed = false;
      this._bytes = bodyOf(body)[0] || new ArrayBuffer(0);
    }
    _take() {
      if (this.bodyUsed) {
        return Promise.reject(new TypeError('the body was read already'));
      }
      this.bodyUsed = true;
      return Promise.resolve(this._bytes);
    }
    arrayBuffer() { return this._take(); }
    text() { return this._take().then((bytes) => api.text(bytes, false).replace(/^\uFEFF/, '')); }
    json() { return this.text().then((text) => JSON.parse(text)); }
    clone() { return new Response(this._bytes, this); }
  }

  class Request {
    constructor(input, init = {}) {
      const from = input instanceof Request ? input : { url: String(input) };
      this.url = new URL(from.url, global.location.href).href;
      this.method = String(init.method || from.method || 'GET').toUpperCase();
      this.headers = new Headers(init.headers || from.headers);
      this.body = init.body === undefined ? from.body : init.body;
    }
  }

  const fetch = (input, init = {}) => new Promise((resolve, reject) => {
    const request = new Request(input, init);
    const chunks = [];
    let answer;
    const headers = [...request.headers].filter(([name]) => !FORBIDDEN.test(name));
    const conn = start(request.method, request.url, headers, request.body, {
      head: (status, statusText, pairs, url) => {
        answer = { status, statusText, headers: pairs, url, redirected: url !== request.url };
      },
      chunk: (bytes) => chunks.push(bytes),
      end: () => resolve(new Response(join(chunks), answer)),
      fail: (text) => reject(new TypeError(`fetch of ${request.url}: ${text}`)),
    });
    const signal = init && init.signal;
    if (signal && typeof signal.addEventListener === 'function') {
      signal.addEventListener('abort', () => {
        stop(conn);
        reject(new DOMException('the fetch was aborted', 'AbortError'));
      });
    }
  });

  class AbortSignal extends EventTarget {
    constructor() { super(); this.aborted = false; this.reason = undefined; this.onabort = null; }
  }
  class AbortController {
    constructor() { this.signal = new AbortSignal(); }
    abort(reason) {
      if (!this.signal.aborted) {
        this.signal.aborted = true;
        this.signal.reason = reason;
        this.signal.dispatchEvent(new Event('abort'));
      }
    }
  }

  const all = {
    XMLHttpRequest, XMLHttpRequestUpload, Headers, Request, Response, fetch, AbortController, AbortSignal,
  };
  for (const [name, value] of Object.entries(all)) {
    api.define(name, value);
  }
})
