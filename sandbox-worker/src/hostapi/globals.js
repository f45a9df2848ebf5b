// How a global is defined: at once, or when its name is first read. What few components use is set
// up only then, because every start would pay for it.
(function (host, global, api) {
  'use strict';

  const property = (value) => ({ value, writable: true, configurable: true, enumerable: false });
  const awaited = new Map();   // name → the getter that stands in for it

  // What the component has put in the place of an awaited global stays there.
  api.define = (name, value) => {
    const getter = awaited.get(name);
    awaited.delete(name);
    const there = Object.getOwnPropertyDescriptor(global, name);
    if (getter === undefined || (there !== undefined && there.get === getter)) {
      Object.defineProperty(global, name, property(value));
    }
  };

  const later = (target, name, part) => {
    const get = () => {
      host.part(part)(host, global, api);
      return target[name];
    };
    const set = (value) => Object.defineProperty(target, name, property(value));
    Object.defineProperty(target, name, { get, set, configurable: true, enumerable: false });
    return get;
  };

  const parts = {
    events: [
      'Event', 'CustomEvent', 'MessageEvent', 'CloseEvent', 'ErrorEvent', 'ProgressEvent',
      'EventTarget', 'addEventListener', 'removeEventListener', 'dispatchEvent',
    ],
    encoding: ['TextEncoder', 'TextDecoder', 'URL', 'URLSearchParams'],
    websocket: ['WebSocket', 'WebSocketServer'],
    http: [
      'XMLHttpRequest', 'XMLHttpRequestUpload', 'Headers', 'Request', 'Response', 'fetch',
      'AbortController', 'AbortSignal',
    ],
  };
  for (const part of Object.keys(parts)) {
    for (const name of parts[part]) {
      awaited.set(name, later(global, name, part));
    }
  }
  // What the parts know of one another, and the engine of them.
  for (const name of ['bytes', 'latin', 'text']) {
    later(api, name, 'encoding');
  }
  later(api, 'window', 'window');
  later(api, 'factory', 'factory');
})
