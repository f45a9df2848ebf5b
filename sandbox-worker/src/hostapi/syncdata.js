// Data that is kept the same in two places: the reporter's, which tells what is changed in it at any
// depth, and the observer's, to which such changes are applied. Loaded by the first `createSyncher`.
(function (host, global, api) {
  'use strict';

  // Levels of names: with what is around it, a message stays within the depth that is read.
  const DEPTH_MAX = 48;
  const MUTATORS = new Set([
    'push', 'pop', 'shift', 'unshift', 'splice', 'sort', 'reverse', 'fill', 'copyWithin',
  ]);

  const isObject = (value) => value !== null && typeof value === 'object';
  const isIndex = (key) => /^(0|[1-9]\d{0,8})$/.test(key);
  // The one name that is not data in every language object.
  const withoutProto = (key, value) => (key === '__proto__' ? undefined : value);

  // A copy as it would arrive: nobody else has a part of it.
  const clone = (value) => {
    const text = JSON.stringify(value);
    return text === undefined ? undefined : JSON.parse(text, withoutProto);
  };
  const element = (value) => {
    const copy = clone(value);
    return copy === undefined ? null : copy;
  };

  // ----- the reporter's

  class Observed {
    // `tell` gets each change as {cType, oType, field, data}.
    constructor(initial, tell) {
      const root = initial === undefined || initial === null ? {} : clone(initial);
      if (!isObject(root) || Array.isArray(root)) {
        throw new TypeError('the data of an object must be an object');
      }
      this.root = root;
      this.tell = tell;
      this.parents = new WeakMap();   // part → {parent, key}
      this.proxies = new WeakMap();
      this.data = this.proxy(root);
    }

    proxy(part) {
      let found = this.proxies.get(part);
      if (found === undefined) {
        found = new Proxy(part, this.traps());
        this.proxies.set(part, found);
      }
      return found;
    }

    // The names that lead to a part, or null if it is no longer in the data. Elements of lists are
    // looked for, because they move.
    path(part) {
      const names = [];
      for (let at = part; at !== this.root;) {
        const { parent, key: last } = this.parents.get(at) || {};
        if (parent === undefined) {
          return null;
        }
        const key = Array.isArray(parent) ? String(parent.indexOf(at)) : last;
        if (parent[key] !== at) {
          return null;
        }
        names.unshift(key);
        at = parent;
      }
      return names;
    }

    // Tells a change in `part`. A name with a dot cannot be told: the part that holds it is.
    changed(part, cType, oType, key, data) {
      const names = this.path(part);
      if (names === null) {
        return;
      }
      const dotted = names.concat(key).findIndex((name) => name.includes('.'));
      if (dotted >= 0) {
        this.whole(names.slice(0, dotted));
      } else {
        this.tell({ cType, oType, field: names.concat(key).join('.'), data });
      }
    }

    whole(names) {
      const part = names.reduce((at, name) => at[name], this.root);
      this.tell({ cType: 'update', oType: 'object', field: names.join('.'), data: clone(part) });
    }

    replaced(list) {
      const names = this.path(list);
      if (names !== null) {
        const dotted = names.findIndex((name) => name.includes('.'));
        this.whole(dotted < 0 ? names : names.slice(0, dotted));
      }
    }

    traps() {
      const reject = () => false;
      return {
        get: (part, key) => this.read(part, key),
        set: (part, key, value) => this.write(part, key, value),
        deleteProperty: (part, key) => this.erase(part, key),
        defineProperty: (part, key, descriptor) => 'value' in descriptor
          && this.write(part, key, descriptor.value),
        getOwnPropertyDescriptor: (part, key) => {
          const descriptor = Reflect.getOwnPropertyDescriptor(part, key);
          if (descriptor !== undefined && isObject(descriptor.value)) {
            descriptor.value = this.read(part, key);
          }
          return descriptor;
        },
        setPrototypeOf: reject,
        preventExtensions: reject,
      };
    }

    read(part, key) {
      if (Array.isArray(part) && MUTATORS.has(key)) {
        return (...args) => this.mutate(part, key, args);
      }
      const value = part[key];
      if (!isObject(value) || !Object.hasOwn(part, key)) {
        return value;
      }
      this.parents.set(value, { parent: part, key });
      return this.proxy(value);
    }

    write(part, key, value) {
      if (typeof key !== 'string' || key === '__proto__' || key === ''
        || (part === this.root && key.includes('.'))) {
        throw new TypeError(`${String(key)} is no name of synchronised data`);
      }
      if (Array.isArray(part)) {
        return this.writeElement(part, key, value);
      }
      const names = this.path(part);
      if (names !== null && names.length >= DEPTH_MAX) {
        throw new RangeError(`synchronised data is deeper than ${DEPTH_MAX}`);
      }
      const copy = clone(value);
      if (copy === undefined) {
        return this.erase(part, key);
      }
      const known = Object.hasOwn(part, key);
      const same = known && !isObject(copy) && Object.is(part[key], copy);
      part[key] = copy;
      if (!same) {
        this.changed(part, known ? 'update' : 'add', 'object', key, clone(copy));
      }
      return true;
    }

    writeElement(list, key, value) {
      if (key === 'length') {
        list.length = value;
        this.replaced(list);
        return true;
      }
      if (!isIndex(key) || Number(key) > list.length) {
        throw new TypeError(`${key} is no place in this list`);
      }
      const known = Number(key) < list.length;
      list[key] = element(value);
      const data = clone(list[key]);
      this.changed(list, known ? 'update' : 'add', 'array', key, known ? data : [data]);
      return true;
    }

    erase(part, key) {
      if (!Object.hasOwn(part, key)) {
        return true;
      }
      if (Array.isArray(part)) {
        return key !== 'length' && this.writeElement(part, key, null);
      }
      delete part[key];
      this.changed(part, 'remove', 'object', key, undefined);
      return true;
    }

    added(list, at, items) {
      if (items.length > 0) {
        this.changed(list, 'add', 'array', String(at), clone(items));
      }
    }

    removed(list, at, count) {
      if (count > 0) {
        this.changed(list, 'remove', 'array', String(at), count);
      }
    }

    mutate(list, name, args) {
      const before = list.length;
      switch (name) {
        case 'push': case 'unshift': {
          const items = args.map(element);
          const length = list[name](...items);
          this.added(list, name === 'push' ? before : 0, items);
          return length;
        }
        case 'pop': case 'shift': {
          const gone = list[name]();
          this.removed(list, name === 'pop' ? before - 1 : 0, before > 0 ? 1 : 0);
          return gone;
        }
        case 'splice': {
          const from = Math.trunc(Number(args[0])) || 0;
          const at = from < 0 ? Math.max(before + from, 0) : Math.min(from, before);
          const items = args.slice(2).map(element);
          const gone = list.splice(...args.slice(0, 2), ...items);
          this.removed(list, at, gone.length);
          this.added(list, at, items);
          return gone;
        }
        default: {
          Reflect.apply(Array.prototype[name], list, args);
          // What was put in may be in several places, and somebody else's.
          list.splice(0, list.length, ...clone(list));
          this.replaced(list);
          return this.proxy(list);
        }
      }
    }
  }

  // ----- the observer's

  // Where a path of dotted names leads: through what is there, and through nothing that is inherited.
  const find = (root, attribute) => {
    const names = typeof attribute === 'string' ? attribute.split('.') : [];
    const key = names.pop();
    if (key === undefined || names.length >= DEPTH_MAX || [...names, key].some((name) => name === '' || name === '__proto__')) {
      return null;
    }
    let parent = root;
    for (const name of names) {
      if (!isObject(parent) || !Object.hasOwn(parent, name)) {
        return null;
      }
      parent = parent[name];
    }
    return isObject(parent) ? { parent, key } : null;
  };

  const applyToList = (list, key, body, operation) => {
    const at = isIndex(key) ? Number(key) : Infinity;
    const value = clone(body.value);
    if (at > list.length || (at === list.length && operation === 'remove')) {
      return undefined;
    }
    if (operation === 'remove') {
      const count = Number.isSafeInteger(value) && value > 0 ? value : 1;
      list.splice(at, count);
      return { cType: 'remove', oType: 'array', data: count };
    }
    if (operation === 'add') {
      list.splice(at, 0, ...(Array.isArray(value) ? value : [value]));
      return { cType: 'add', oType: 'array', data: value };
    }
    const cType = at < list.length ? 'update' : 'add';
    list[at] = value === undefined ? null : value;
    return { cType, oType: 'array', data: value };
  };

  // Applies what an `update` says; the event for who listens, or undefined if it does not fit.
  const apply = (root, body) => {
    const found = find(root, body.attribute);
    if (found === null) {
      return undefined;
    }
    const { parent, key } = found;
    const operation = typeof body.operation === 'string' ? body.operation.toLowerCase() : '';
    let event;
    if (Array.isArray(parent)) {
      event = applyToList(parent, key, body, operation);
    } else if (Object.hasOwn(body, 'value')) {
      event = { cType: Object.hasOwn(parent, key) ? 'update' : 'add', oType: 'object', data: clone(body.value) };
      parent[key] = clone(body.value);
    } else if (Object.hasOwn(parent, key)) {
      delete parent[key];
      event = { cType: 'remove', oType: 'object', data: undefined };
    }
    return event === undefined ? undefined : { ...event, field: body.attribute };
  };

  // Makes `root` what `value` is; an event for each name that is not as it was.
  const replace = (root, value) => {
    const fresh = isObject(value) && !Array.isArray(value) ? clone(value) : {};
    const events = [];
    for (const key of Object.keys(root)) {
      if (!Object.hasOwn(fresh, key)) {
        delete root[key];
        events.push({ cType: 'remove', oType: 'object', field: key, data: undefined });
      }
    }
    for (const key of Object.keys(fresh)) {
      const known = Object.hasOwn(root, key);
      if (!known || JSON.stringify(root[key]) !== JSON.stringify(fresh[key])) {
        root[key] = fresh[key];
        events.push({ cType: known ? 'update' : 'add', oType: 'object', field: key, data: clone(fresh[key]) });
      }
    }
    return events;
  };

  api.sync = { Observed, apply, replace, clone };
})
