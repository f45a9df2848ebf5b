// The `window` profile: what a page has, without a page.
(function (host, global, api) {
  'use strict';

  const STORAGE_CHARACTERS_MAX = 1024 * 1024;

  const element = (name) => Object.assign(new EventTarget(), {
    tagName: String(name).toUpperCase(), nodeName: String(name).toUpperCase(), nodeType: 1,
    style: {}, children: [], childNodes: [], attributes: {}, innerHTML: '', textContent: '', src: '',
    parentNode: null, ownerDocument: null,
    setAttribute(key, value) { this.attributes[key] = String(value); },
    getAttribute(key) { return key in this.attributes ? this.attributes[key] : null; },
    removeAttribute(key) { delete this.attributes[key]; },
    appendChild(child) { return child; },
    insertBefore(child) { return child; },
    removeChild(child) { return child; },
    getElementsByTagName: () => [], querySelector: () => null, querySelectorAll: () => [],
    focus() {}, blur() {}, click() {}, submit() {}, remove() {},
  });

  const storage = () => {
    const items = new Map();
    let used = 0;
    const size = (key) => (items.has(key) ? key.length + items.get(key).length : 0);
    return {
      get length() { return items.size; },
      key: (index) => [...items.keys()][index] || null,
      getItem: (key) => (items.has(String(key)) ? items.get(String(key)) : null),
      setItem(key, value) {
        const [name, text] = [String(key), String(value)];
        const after = used - size(name) + name.length + text.length;
        if (after > STORAGE_CHARACTERS_MAX) {
          throw new DOMException('the storage is full', 'QuotaExceededError');
        }
        used = after;
        items.set(name, text);
      },
      removeItem(key) { used -= size(String(key)); items.delete(String(key)); },
      clear() { used = 0; items.clear(); },
    };
  };

  api.window = () => {
    const document = Object.assign(element('html'), {
      nodeType: 9, readyState: 'complete', cookie: '', title: '', referrer: '', hidden: true,
      visibilityState: 'hidden', domain: global.location.hostname, URL: global.location.href,
      location: global.location, documentElement: element('html'), head: element('head'),
      body: element('body'),
      createElement: (name) => element(name),
      createElementNS: (_, name) => element(name),
      createTextNode: (text) => ({ nodeType: 3, textContent: String(text) }),
      createDocumentFragment: () => element('fragment'),
      createEvent: () => Object.assign(new Event(''), { initEvent(type) { this.type = type; } }),
      getElementById: () => null, getElementsByName: () => [], getElementsByClassName: () => [],
      write() {}, open() {}, close() {},
    });
    api.define('window', global);
    api.define('document', document);
    api.define('localStorage', storage());
    api.define('sessionStorage', storage());
    api.define('parent', global);
    api.define('top', global);
    api.define('name', '');
    api.define('closed', false);
    api.define('open', () => null);
    api.define('close', () => {});
    api.define('alert', (text) => host.log(2, `alert: ${String(text).toWellFormed()}`));
    api.define('confirm', () => false);
    api.define('prompt', () => null);
    api.define('postMessage', () => {});
    api.define('requestAnimationFrame', (call) => api.after(16, () => call(host.now())));
    api.define('cancelAnimationFrame', (id) => api.cancel(id));
    api.define('getComputedStyle', () => ({}));
    api.define('matchMedia', () => ({ matches: false, addListener() {}, removeListener() {} }));
    api.define('history', { length: 1, state: null, pushState() {}, replaceState() {}, back() {}, go() {} });
    api.define('screen', { width: 0, height: 0 });
  };
})
