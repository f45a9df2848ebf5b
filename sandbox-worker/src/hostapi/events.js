// Event and EventTarget, and the events that the host itself makes.
(function (host, global, api) {
  'use strict';

  class Event {
    constructor(type, init = {}) {
      this.type = String(type);
      this.bubbles = Boolean(init.bubbles);
      this.cancelable = Boolean(init.cancelable);
      this.defaultPrevented = false;
      this.target = null;
      this.currentTarget = null;
      this.timeStamp = host.now();
      this._stopped = false;
    }
    preventDefault() { if (this.cancelable) { this.defaultPrevented = true; } }
    stopPropagation() {}
    stopImmediatePropagation() { this._stopped = true; }
  }

  class CustomEvent extends Event {
    constructor(type, init = {}) {
      super(type, init);
      this.detail = init.detail === undefined ? null : init.detail;
    }
  }

  class MessageEvent extends Event {
    constructor(type, init = {}) {
      super(type, init);
      this.data = init.data === undefined ? null : init.data;
      this.origin = init.origin || '';
      this.lastEventId = '';
      this.source = null;
      this.ports = [];
    }
  }

  class CloseEvent extends Event {
    constructor(type, init = {}) {
      super(type, init);
      this.code = init.code || 0;
      this.reason = init.reason || '';
      this.wasClean = Boolean(init.wasClean);
    }
  }

  class ErrorEvent extends Event {
    constructor(type, init = {}) {
      super(type, init);
      this.message = init.message || '';
      this.error = init.error === undefined ? null : init.error;
    }
  }

  class ProgressEvent extends Event {
    constructor(type, init = {}) {
      super(type, init);
      this.lengthComputable = Boolean(init.lengthComputable);
      this.loaded = init.loaded || 0;
      this.total = init.total || 0;
    }
  }

  const LISTENERS = Symbol('listeners');

  class EventTarget {
    addEventListener(type, listener, options) {
      if (listener === null || listener === undefined) {
        return;
      }
      if (this[LISTENERS] === undefined) {
        Object.defineProperty(this, LISTENERS, { value: new Map() });
      }
      const list = this[LISTENERS].get(type) || [];
      if (!list.some((entry) => entry.listener === listener)) {
        const once = Boolean(options && options.once);
        this[LISTENERS].set(type, list.concat({ listener, once }));
      }
    }

    removeEventListener(type, listener) {
      const list = this[LISTENERS] && this[LISTENERS].get(type);
      if (list) {
        this[LISTENERS].set(type, list.filter((entry) => entry.listener !== listener));
      }
    }

    // The `on…` property first, then the listeners that there were when it began.
    dispatchEvent(event) {
      event.target = this;
      event.currentTarget = this;
      const handler = this[`on${event.type}`];
      if (typeof handler === 'function') {
        api.guard(`on${event.type}`, handler, this, [event]);
      }
      const list = (this[LISTENERS] && this[LISTENERS].get(event.type)) || [];
      for (const { listener, once } of list) {
        if (event._stopped) {
          break;
        }
        if (once) {
          this.removeEventListener(event.type, listener);
        }
        if (typeof listener === 'function') {
          api.guard(`a listener of ${event.type}`, listener, this, [event]);
        } else if (typeof listener.handleEvent === 'function') {
          api.guard(`a listener of ${event.type}`, listener.handleEvent, listener, [event]);
        }
      }
      return !event.defaultPrevented;
    }
  }

  const all = {
    Event, CustomEvent, MessageEvent, CloseEvent, ErrorEvent, ProgressEvent, EventTarget,
  };
  for (const [name, value] of Object.entries(all)) {
    api.define(name, value);
  }

  // The global object is a target as well: `online`, `unload` and others, which never come.
  const target = new EventTarget();
  api.define('addEventListener', (...args) => target.addEventListener(...args));
  api.define('removeEventListener', (...args) => target.removeEventListener(...args));
  api.define('dispatchEvent', (event) => target.dispatchEvent(event));
})
