// TextEncoder and TextDecoder (UTF-8 only), URL and URLSearchParams.
(function (host, global, api) {
  'use strict';

  // The bytes of a buffer or view, as a buffer of their own.
  api.bytes = (value) => {
    if (value instanceof ArrayBuffer) {
      return value.slice(0);
    }
    if (ArrayBuffer.isView(value)) {
      return value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength);
    }
    return undefined;
  };

  // Bytes cross to the host as text of characters up to 255: it may not look into buffers.
  const CHUNK = 8192;
  api.latin = (buffer) => {
    const bytes = new Uint8Array(buffer);
    const parts = [];
    for (let at = 0; at < bytes.length; at += CHUNK) {
      parts.push(Reflect.apply(String.fromCharCode, null, bytes.subarray(at, at + CHUNK)));
    }
    return parts.join('');
  };
  api.text = (buffer, fatal) => host.decode(api.latin(buffer), fatal);

  class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return new Uint8Array(host.encode(String(text).toWellFormed())); }
    encodeInto(text, target) {
      let read = 0;
      let written = 0;
      for (const character of String(text)) {
        const bytes = this.encode(character);
        if (written + bytes.length > target.length) {
          break;
        }
        target.set(bytes, written);
        written += bytes.length;
        read += character.length;
      }
      return { read, written };
    }
  }

  class TextDecoder {
    constructor(label = 'utf-8', options = {}) {
      if (!/^\s*(utf-?8|unicode-1-1-utf-8)\s*$/i.test(label)) {
        throw new RangeError(`the encoding ${label} is not offered here`);
      }
      this.encoding = 'utf-8';
      this.fatal = Boolean(options.fatal);
      this.ignoreBOM = Boolean(options.ignoreBOM);
    }
    decode(input) {
      if (input === undefined) {
        return '';
      }
      const bytes = api.bytes(input);
      if (bytes === undefined) {
        throw new TypeError('decode wants a buffer');
      }
      const text = api.text(bytes, this.fatal);
      if (typeof text !== 'string') {
        throw new TypeError('the bytes are not UTF-8');
      }
      return this.ignoreBOM ? text : text.replace(/^\uFEFF/, '');
    }
  }

  const plus = (text) => encodeURIComponent(text)
    .replace(/%20/g, '+').replace(/[!'()~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  const unplus = (text) => {
    const spaced = text.replace(/\+/g, ' ');
    try {
      return decodeURIComponent(spaced);
    } catch (_) {
      return spaced;
    }
  };

  class URLSearchParams {
    constructor(init = '') {
      this._pairs = [];
      this._changed = null;
      if (typeof init === 'string') {
        this._read(init);
      } else if (init && typeof init[Symbol.iterator] === 'function') {
        for (const [name, value] of init) { this.append(name, value); }
      } else if (init) {
        for (const name of Object.keys(init)) { this.append(name, init[name]); }
      }
    }
    _read(text) {
      this._pairs = text.replace(/^\?/, '').split('&').filter((part) => part !== '').map((part) => {
        const at = part.indexOf('=');
        return at < 0 ? [unplus(part), ''] : [unplus(part.slice(0, at)), unplus(part.slice(at + 1))];
      });
    }
    _tell() { if (this._changed) { this._changed(this.toString()); } }
    append(name, value) { this._pairs.push([String(name), String(value)]); this._tell(); }
    delete(name) { this._pairs = this._pairs.filter((pair) => pair[0] !== name); this._tell(); }
    get(name) { const pair = this._pairs.find((one) => one[0] === name); return pair ? pair[1] : null; }
    getAll(name) { return this._pairs.filter((pair) => pair[0] === name).map((pair) => pair[1]); }
    has(name) { return this._pairs.some((pair) => pair[0] === name); }
    set(name, value) {
      const at = this._pairs.findIndex((pair) => pair[0] === name);
      if (at < 0) {
        this._pairs.push([String(name), String(value)]);
      } else {
        const rest = this._pairs.filter((pair, index) => pair[0] !== name || index === at);
        rest[rest.findIndex((pair) => pair[0] === name)] = [String(name), String(value)];
        this._pairs = rest;
      }
      this._tell();
    }
    sort() { this._pairs.sort((a, b) => (a[0] < b[0] ? -1 : Number(a[0] > b[0]))); this._tell(); }
    get size() { return this._pairs.length; }
    forEach(call, self) { for (const [name, value] of this._pairs) { call.call(self, value, name, this); } }
    keys() { return this._pairs.map((pair) => pair[0])[Symbol.iterator](); }
    values() { return this._pairs.map((pair) => pair[1])[Symbol.iterator](); }
    entries() { return this._pairs.map((pair) => pair.slice())[Symbol.iterator](); }
    [Symbol.iterator]() { return this.entries(); }
    toString() { return this._pairs.map(([name, value]) => `${plus(name)}=${plus(value)}`).join('&'); }
  }

  const PARTS = [
    'href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname',
    'search', 'hash',
  ];

  class URL {
    constructor(url, base) {
      const parts = host.url(String(url).toWellFormed(), base === undefined ? '' : String(base));
      if (parts === undefined) {
        throw new TypeError(`${url} is no URL`);
      }
      this._parts = parts;
      this.searchParams = new URLSearchParams(parts[PARTS.indexOf('search')]);
      this.searchParams._changed = (text) => this._set('search', text);
    }
    _set(part, value) {
      const parts = host.urlSet(this._parts[0], part, String(value).toWellFormed());
      if (parts !== undefined) {
        this._parts = parts;
      }
    }
    toString() { return this.href; }
    toJSON() { return this.href; }
    static canParse(url, base) {
      return host.url(String(url).toWellFormed(), base === undefined ? '' : String(base)) !== undefined;
    }
  }
  PARTS.forEach((part, index) => Object.defineProperty(URL.prototype, part, {
    get() { return this._parts[index]; },
    set(value) {
      this._set(part, value);
      if (part === 'search' || part === 'href') {
        this.searchParams._read(this._parts[PARTS.indexOf('search')]);
      }
    },
    enumerable: true,
    configurable: true,
  }));

  for (const [name, value] of Object.entries({ TextEncoder, TextDecoder, URL, URLSearchParams })) {
    api.define(name, value);
  }
})
