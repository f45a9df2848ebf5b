// Data objects: what a reporter and its observers have in common, their children, and how changes
// are sent. Loaded by the first `createSyncher`.
(function (host, global, api) {
  'use strict';

  // Changes that wait to be sent; past them only which names of the first level have changed.
  const CHANGES_MAX = 256;
  // Messages of one object in one go, and milliseconds between two.
  const BURST = 32;
  const PAUSE_MS = 100;
  const CHILDREN_MAX = 4096;
  const LISTENERS_MAX = 256;
  const NAME_MAX = 256;

  const { Observed, apply, clone } = api.sync;
  const isObject = (value) => value !== null && typeof value === 'object';
  const isVersion = (value) => Number.isSafeInteger(value) && value >= 0;
  const now = () => new Date().toISOString();
  const call = (where, callback, event) => {
    if (typeof callback === 'function') {
      api.guard(where, callback, undefined, [event]);
    }
  };

  // Sends the changes of one object or child, in order and numbered; what cannot go now goes later,
  // as a whole.
  class Changes {
    constructor(data, begin) {
      this.data = data;
      this.begin = begin;
      this.version = 0;
      this.list = [];
      this.names = new Set();
      this.armed = false;
      this.timer = null;
    }

    add(change) {
      if (this.names.size > 0 || this.list.length >= CHANGES_MAX) {
        this.collapse();
        this.names.add(change.field.split('.')[0]);
      } else {
        this.list.push(change);
      }
      if (!this.armed) {
        this.armed = true;
        queueMicrotask(() => this.flush());
      }
    }

    // Afterwards what is not yet sent may be applied twice without harm.
    collapse() {
      for (const change of this.list.splice(0)) {
        this.names.add(change.field.split('.')[0]);
      }
    }

    next() {
      if (this.list.length > 0) {
        return this.list.shift();
      }
      for (const field of this.names) {
        this.names.delete(field);
        const data = clone(this.data[field]);
        return { cType: data === undefined ? 'remove' : 'update', oType: 'object', field, data };
      }
      return undefined;
    }

    flush() {
      this.timer = null;
      for (let sent = 0; sent < BURST; sent += 1) {
        const change = this.next();
        if (change === undefined) {
          this.armed = false;
          return;
        }
        const refused = api.tryPost(this.message(change));
        if (refused === undefined) {
          this.version += 1;
        } else if (refused.code === 429 || refused.code === 503) {
          this.collapse();
          this.names.add(change.field.split('.')[0]);
          break;
        } else {
          // It can never go.
          host.uncaught(`in the change of ${change.field}: ${refused.desc}`);
        }
      }
      this.timer = api.after(PAUSE_MS, () => this.flush());
    }

    message({ cType, oType, field, data }) {
      const message = this.begin();
      Object.assign(message.body, { version: this.version + 1, attribute: field, lastModified: now() });
      if (oType === 'array') {
        message.body.attributeType = 'array';
        if (cType !== 'update') {
          message.body.operation = cType;
        }
      }
      if (data !== undefined) {
        message.body.value = data;
      }
      return message;
    }

    end() {
      if (this.timer !== null) {
        api.cancel(this.timer);
      }
      this.armed = true;   // Nothing is armed any more.
    }
  }

  // A part of an object that one of the participants added. Only who added it changes it.
  class Child {
    constructor(parent, input, identity, own) {
      this.childId = input.url;
      this.url = input.url;
      this.reporter = input.reporter;
      this.identity = identity;
      this.created = input.created;
      this.parent = parent.url;
      this.schema = input.schema;
      const { data, ...metadata } = input;
      this.metadata = metadata;
      this.version = isVersion(input.version) ? input.version : 0;
      this.listeners = [];
      if (own) {
        const to = `${parent.url}/children`;
        const body = () => ({ source: parent.owner, resource: this.childId });
        this.observed = new Observed(data, (change) => this.changes.add(change));
        this.changes = new Changes(this.observed.root, () => ({
          type: 'update', from: parent.owner, to, body: body(),
        }));
        this.data = this.observed.data;
      } else {
        this.data = clone(isObject(data) ? data : {});
      }
    }

    onChange(callback) {
      if (this.listeners.length < LISTENERS_MAX) {
        this.listeners.push(callback);
      }
    }

    changed(message) {
      const { body } = message;
      if (this.changes !== undefined || message.from !== this.reporter
        || !isVersion(body.version) || body.version <= this.version) {
        return;
      }
      const event = apply(this.data, body);
      if (event !== undefined) {
        this.version = body.version;
        this.listeners.forEach((listener) => call(`a change of ${this.url}`, listener, event));
      }
    }

    // As it is sent.
    get value() {
      if (this.changes === undefined) {
        return { ...this.metadata, data: clone(this.data), version: this.version };
      }
      this.changes.collapse();
      return { ...this.metadata, data: clone(this.observed.root), version: this.changes.version };
    }
  }

  class DataObject {
    constructor(syncher, input) {
      this.syncher = syncher;
      this.owner = syncher.owner;
      this.bus = syncher.bus;
      this.url = input.url;
      this.schema = input.schema;
      this.status = 'live';
      const { data, ...metadata } = input;
      this.metadata = metadata;
      this.children = new Map();
      this.handles = [];
      this.lastChild = 0;
      this.listen(`${this.url}/children`, (message) => this.childMessage(message));
    }

    get name() { return this.metadata.name; }
    get reporter() { return this.metadata.reporter; }
    get childrens() { return Object.fromEntries(this.children); }

    listen(address, callback) {
      this.handles.push(this.bus.addListener(address, (message) => {
        if (isObject(message.body)) {
          callback(message);
        }
      }));
    }

    release() {
      this.handles.splice(0).forEach((handle) => handle.remove());
      this.children.forEach((child) => child.changes && child.changes.end());
    }

    respond(request, body) {
      const answer = { id: request.id, type: 'response', from: request.to, to: request.from };
      const refused = api.tryPost({ ...answer, body });
      if (refused !== undefined && refused.code === 413) {
        api.tryPost({ ...answer, body: { code: refused.code, desc: refused.desc } });
      }
    }

    // The first argument of older generations is the name of the collection.
    addChild(...args) {
      const [initial, identity, input] = typeof args[0] === 'string' ? args.slice(1) : args;
      return new Promise((resolve, reject) => {
        if (this.children.size >= CHILDREN_MAX) {
          throw new RangeError(`more than ${CHILDREN_MAX} children`);
        }
        this.lastChild += 1;
        const url = `${Date.now()}-${this.owner.split('/').pop()}#${this.lastChild}`;
        const metadata = { ...input, url, reporter: this.owner, created: now(), schema: this.schema, parent: this.url };
        const child = new Child(this, { ...metadata, data: initial }, identity, true);
        const body = { resource: url, value: child.value };
        if (identity !== undefined) {
          body.identity = identity;
        }
        this.bus.postMessage({ type: 'create', from: this.owner, to: `${this.url}/children`, body }, (reply) => {
          if (reply.body.code >= 300) {
            reject(reply.body.desc);
            return;
          }
          this.children.set(url, child);
          resolve(child);
        });
      });
    }

    addChildren(...args) { return this.addChild(...args); }
    onAddChild(callback) { this.childAdded = callback; }
    onAddChildren(callback) { this.childAdded = callback; }

    childMessage(message) {
      const { body, from, type } = message;
      if (from === this.owner) {
        return;
      }
      const id = body.resource === undefined && isObject(body.value) ? body.value.url : body.resource;
      if (typeof id !== 'string' || id === '' || id.length > NAME_MAX) {
        return;
      }
      const child = this.children.get(id);
      if (type === 'create' && child === undefined) {
        this.takeChild(id, body.value, from, body.identity);
      } else if (type === 'update' && child !== undefined) {
        child.changed(message);
      } else if (type === 'delete' && child !== undefined && child.reporter === from) {
        this.children.delete(id);
      }
    }

    // Whatever it says of itself, its reporter is who sent it.
    takeChild(id, value, from, identity) {
      if (!isObject(value) || id === '__proto__' || this.children.size >= CHILDREN_MAX) {
        return;
      }
      const child = new Child(this, { ...clone(value), url: id, reporter: from }, identity, false);
      this.children.set(id, child);
      call(`onAddChild of ${this.url}`, this.childAdded, {
        type: 'create', from, url: `${this.url}/children`, value: child.data, childId: id, identity, child,
      });
    }
  }

  Object.assign(api.sync, { Changes, DataObject, NAME_MAX, isObject, isVersion, call });
})
