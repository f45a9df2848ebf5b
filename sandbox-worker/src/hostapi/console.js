// console.* into the stub's log. The host bounds rate and length; nothing is formatted that it
// would not take.
(function (host, global, api) {
  'use strict';

  const CHARACTERS_MAX = 1024;
  const DEPTH_MAX = 4;
  const MEMBERS_MAX = 32;
  const [ERROR, WARN, INFO, DEBUG] = [0, 1, 2, 3];

  const show = (value, depth, seen) => {
    switch (typeof value) {
      case 'string': return depth === 0 ? value : JSON.stringify(value.slice(0, CHARACTERS_MAX));
      case 'function': return `[function ${value.name || 'anonymous'}]`;
      case 'bigint': return `${value}n`;
      case 'object': break;
      default: return String(value);
    }
    if (value === null) {
      return 'null';
    }
    if (value instanceof Error) {
      return api.describe(value);
    }
    if (seen.includes(value)) {
      return '[circular]';
    }
    if (depth >= DEPTH_MAX) {
      return Array.isArray(value) ? '[…]' : '{…}';
    }
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
      return `[${value.byteLength} bytes]`;
    }
    const inner = seen.concat([value]);
    if (Array.isArray(value)) {
      const items = value.slice(0, MEMBERS_MAX).map((item) => show(item, depth + 1, inner));
      return `[${items.join(', ')}${value.length > MEMBERS_MAX ? ', …' : ''}]`;
    }
    const keys = Object.keys(value);
    const parts = keys.slice(0, MEMBERS_MAX)
      .map((key) => `${key}: ${show(value[key], depth + 1, inner)}`);
    return `{${parts.join(', ')}${keys.length > MEMBERS_MAX ? ', …' : ''}}`;
  };

  const write = (level, args) => {
    if (!host.logs()) {
      return;
    }
    let text = '';
    for (const arg of args) {
      if (text.length > CHARACTERS_MAX) {
        break;
      }
      let part;
      try {
        part = show(arg, 0, []);
      } catch (_) {
        part = '[unreadable]';
      }
      text += (text === '' ? '' : ' ') + part.slice(0, CHARACTERS_MAX + 1);
    }
    host.log(level, text.toWellFormed());
  };

  const started = new Map();
  const counts = new Map();
  const quiet = () => {};
  api.define('console', {
    error: (...args) => write(ERROR, args),
    warn: (...args) => write(WARN, args),
    log: (...args) => write(INFO, args),
    info: (...args) => write(INFO, args),
    dir: (...args) => write(INFO, args.slice(0, 1)),
    table: (...args) => write(INFO, args),
    group: (...args) => write(INFO, args),
    groupCollapsed: (...args) => write(INFO, args),
    groupEnd: quiet,
    clear: quiet,
    debug: (...args) => write(DEBUG, args),
    trace: (...args) => write(DEBUG, args),
    assert: (holds, ...args) => { if (!holds) { write(ERROR, ['assertion failed:', ...args]); } },
    count: (label = 'default') => {
      const count = (counts.get(label) || 0) + 1;
      if (counts.size < MEMBERS_MAX || counts.has(label)) {
        counts.set(label, count);
      }
      write(INFO, [`${label}: ${count}`]);
    },
    time: (label = 'default') => {
      if (started.size < MEMBERS_MAX) {
        started.set(label, host.now());
      }
    },
    timeLog: (label = 'default') => write(INFO, [`${label}: ${host.now() - started.get(label)} ms`]),
    timeEnd: (label = 'default') => {
      write(INFO, [`${label}: ${host.now() - started.get(label)} ms`]);
      started.delete(label);
    },
  });
})
