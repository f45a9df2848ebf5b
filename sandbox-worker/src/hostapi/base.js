// What the other parts stand on: how an error is shown, the objects that every worker of a browser
// has.
(function (host, global, api) {
  'use strict';

  // Text of anything that was thrown; never throws itself.
  api.describe = (error) => {
    try {
      if (error !== null && typeof error === 'object') {
        const head = error.name !== undefined || error.message !== undefined
          ? `${error.name || 'Error'}: ${error.message}` : JSON.stringify(error);
        const text = typeof error.stack === 'string' && error.stack !== ''
          ? `${head}\n${error.stack}` : head;
        return String(text).toWellFormed();
      }
      return String(error).toWellFormed();
    } catch (_) {
      return 'an error that cannot be shown';
    }
  };

  // Calls foreign code; what it throws is reported and survived.
  api.guard = (where, call, self, args) => {
    try {
      return Reflect.apply(call, self, args);
    } catch (error) {
      host.uncaught(`in ${where}: ${api.describe(error)}`);
      return undefined;
    }
  };

  api.define('self', global);
  const location = {
    href: 'https://localhost/', protocol: 'https:', host: 'localhost', hostname: 'localhost',
    port: '', pathname: '/', search: '', hash: '', origin: 'https://localhost',
    toString() { return this.href; }, reload() {}, replace() {}, assign() {},
  };
  api.define('location', location);
  api.define('navigator', {
    userAgent: 'runtimed', appName: 'runtimed', platform: '', language: 'en', languages: ['en'],
    onLine: true, product: 'runtimed',
  });

  // The place of the runtime takes the place of a page.
  api.place = (runtimeURL) => {
    const host = /^[a-z-]+:\/\/([^/]+)/.exec(runtimeURL);
    if (host) {
      location.host = host[1];
      location.hostname = host[1].replace(/:\d+$/, '');
      location.port = (/:(\d+)$/.exec(host[1]) || ['', ''])[1];
      location.origin = `https://${host[1]}`;
      location.href = `https://${host[1]}/`;
    }
  };

  api.define('crypto', {
    getRandomValues(view) {
      if (!ArrayBuffer.isView(view)) {
        throw new TypeError('getRandomValues wants a typed array');
      }
      if (view.byteLength > 65536) {
        throw new DOMException('more than 65536 bytes at once', 'QuotaExceededError');
      }
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      bytes.set(new Uint8Array(host.random(view.byteLength)));
      return view;
    },
    randomUUID() {
      const bytes = new Uint8Array(host.random(16));
      bytes[6] = (bytes[6] & 0x0f) | 0x40;
      bytes[8] = (bytes[8] & 0x3f) | 0x80;
      const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
      return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
    },
  });
})
