// The two ends of a data object: its reporter, and each of its observers. Loaded by the first
// `createSyncher`.
(function (host, global, api) {
  'use strict';

  // Updates that came too early and are kept, and milliseconds that the missing ones may take.
  const EARLY_MAX = 64;
  const GAP_MS = 200;
  // Milliseconds between two questions for the whole object.
  const SYNC_MS = 1000;
  const SUBSCRIBERS_MAX = 4096;
  const FILTERS_MAX = 256;

  const { Observed, Changes, DataObject, NAME_MAX, isObject, isVersion, call, apply, replace, clone } = api.sync;

  class Reporter extends DataObject {
    constructor(syncher, input) {
      super(syncher, input);
      this.observed = new Observed(input.data, (change) => this.changes.add(change));
      this.data = this.observed.data;
      this.changes = new Changes(this.observed.root, () => ({
        type: 'update', from: this.url, to: `${this.url}/changes`, body: { source: this.owner },
      }));
      this.subscribers = new Map();
      this.invited = new Set();
      this.invitations = [];
      this.listen(this.url, (message) => this.asked(message));
      this.listen(`${this.url}/subscription`, (message) => this.subscription(message));
    }

    get subscriptions() { return Object.fromEntries(this.subscribers); }
    get version() { return this.changes.version; }

    onSubscription(callback) { this.subscribed = callback; }
    onResponse(callback) { this.responded = callback; }
    onRead(callback) { this.readBy = callback; }
    onExecute(callback) { this.executed = callback; }

    // Each answer is also told to `onResponse`.
    inviteObservers(observers, p2p) {
      for (const observer of observers.slice(0, SUBSCRIBERS_MAX)) {
        this.invited.add(observer);
        const body = { source: this.owner, schema: this.schema, value: clone(this.metadata) };
        if (p2p) {
          body.p2p = true;
        }
        const invitation = new Promise((resolve, reject) => {
          const message = { type: 'create', from: `${this.url}/subscription`, to: observer, body };
          this.bus.postMessage(message, (reply) => {
            const { code = 500, desc = '' } = reply.body || {};
            call('onResponse', this.responded, { type: 'response', url: reply.from || observer, code });
            (code < 300 ? resolve : reject)({ invited: observer, code, desc });
          });
        });
        invitation.catch(() => {});
        this.invitations.push(invitation);
      }
    }

    subscription(message) {
      if (message.type === 'subscribe') {
        this.wantsIn(message);
      } else if (message.type === 'unsubscribe' && this.subscribers.delete(message.from)) {
        call('onSubscription', this.subscribed, this.event(message));
      }
    }

    event(message) {
      const domain = (/^[^:]+:\/\/([^/]+)/.exec(message.from) || [])[1];
      const { identity, mutual } = message.body;
      return { type: message.type, url: message.from, domain, identity, mutual };
    }

    wantsIn(message) {
      let open = true;
      const once = (act) => (...args) => {
        const first = open;
        open = false;
        return first ? act(...args) : undefined;
      };
      const accept = once(() => this.letIn(message));
      const reject = once((reason) => this.respond(message, { code: 403, desc: String(reason) }));
      if (typeof this.subscribed === 'function') {
        call('onSubscription', this.subscribed, { ...this.event(message), accept, reject });
      } else if (this.invited.has(message.from)) {
        accept();
      } else {
        reject('nobody decides here who observes this object, and it was not invited');
      }
    }

    letIn(message) {
      if (!this.subscribers.has(message.from) && this.subscribers.size >= SUBSCRIBERS_MAX) {
        this.respond(message, { code: 503, desc: 'too many observers' });
        return undefined;
      }
      const subscription = { url: message.from, status: 'live' };
      this.subscribers.set(message.from, subscription);
      this.respond(message, { code: 200, schema: this.schema, resource: this.url, value: this.value() });
      return subscription;
    }

    // The object as it is, and the number of the last change that was sent of it.
    value() {
      this.changes.collapse();
      const value = { ...clone(this.metadata), data: clone(this.observed.root), version: this.version };
      if (this.children.size > 0) {
        value.childrenObjects = Object.fromEntries(
          [...this.children].map(([id, child]) => [id, { value: child.value, identity: child.identity }]),
        );
      }
      return value;
    }

    asked(message) {
      const refuse = (code) => (reason) => this.respond(message, { code, desc: String(reason) });
      const { type, from: url } = message;
      if (type === 'read') {
        const accept = () => this.respond(message, { code: 200, value: this.value() });
        if (this.subscribers.has(url)) {
          accept();
        } else if (typeof this.readBy === 'function') {
          call('onRead', this.readBy, { type, url, accept, reject: refuse(401) });
        } else {
          refuse(403)('it does not observe this object');
        }
      } else if (type === 'execute') {
        const { method, params } = message.body;
        const accept = (value) => this.respond(message, { code: 200, value });
        if (typeof this.executed === 'function') {
          call('onExecute', this.executed, { type, url, method, params, accept, reject: refuse(401) });
        } else {
          refuse(501)(`${method} is not offered by this object`);
        }
      }
    }

    delete() {
      return this.syncher.ask('delete', { resource: this.url }).then(() => {
        this.changes.end();
        this.release();
        this.syncher.forget(this);
      });
    }
  }

  class Observer extends DataObject {
    constructor(syncher, input) {
      super(syncher, input);
      this.version = isVersion(input.version) ? input.version : 0;
      this.data = clone(isObject(input.data) && !Array.isArray(input.data) ? input.data : {});
      this.filters = [];
      this.early = new Map();
      this.gap = null;
      this.torn = false;
      this.syncing = null;
      this.syncedAt = -SYNC_MS;
      this.takeChildren(input.childrenObjects);
      this.listen(`${this.url}/changes`, (message) => this.changed(message));
    }

    takeChildren(list) {
      for (const [id, entry] of Object.entries(isObject(list) ? list : {})) {
        if (isObject(entry) && isObject(entry.value) && !this.children.has(id) && id.length <= NAME_MAX) {
          this.takeChild(id, entry.value, entry.value.reporter, entry.identity);
        }
      }
    }

    // Only its reporter changes it, and each change once and in order.
    changed(message) {
      const { from, type, body } = message;
      if (from !== this.url) {
        return;
      }
      if (type === 'delete') {
        this.syncher.ended(this, body);
      } else if (type === 'update' && isVersion(body.version) && body.version > this.version) {
        if (this.early.size >= EARLY_MAX) {
          this.early.clear();
        }
        this.early.set(body.version, body);
        this.catchUp();
      }
    }

    catchUp() {
      for (let body = this.early.get(this.version + 1); body !== undefined; body = this.early.get(this.version + 1)) {
        this.version += 1;
        this.early.delete(this.version);
        let event;
        try {
          event = apply(this.data, body);
        } catch {
          // As one that does not fit: the number is used, the whole object is asked for.
        }
        if (event === undefined) {
          this.torn = true;
        } else {
          this.metadata.lastModified = body.lastModified;
          this.tell(event);
        }
      }
      if ((this.early.size > 0 || this.torn) && this.gap === null) {
        this.gap = api.after(GAP_MS, () => this.missing());
      }
    }

    missing() {
      this.gap = null;
      if (this.torn || this.early.size > 0) {
        this.sync();
      }
    }

    // Asks for the whole object, not more than once a second. True if it is as the reporter's.
    sync() {
      if (this.syncing !== null) {
        return this.syncing;
      }
      const wait = Math.max(0, this.syncedAt + SYNC_MS - host.now());
      this.syncing = new Promise((resolve) => {
        api.after(Math.max(wait, 1), () => {
          this.syncedAt = host.now();
          this.syncher.read(this.url).then((value) => {
            this.syncing = null;
            resolve(this.synced(value));
          }, () => {
            this.syncing = null;
            resolve(false);
          });
        });
      });
      return this.syncing;
    }

    synced(value) {
      if (!isObject(value) || !isVersion(value.version) || this.status !== 'live') {
        return false;
      }
      // Whatever came before: its word is what holds.
      this.version = value.version;
      this.torn = false;
      this.early.forEach((_, version) => version <= value.version && this.early.delete(version));
      replace(this.data, value.data).forEach((event) => this.tell(event));
      this.takeChildren(value.childrenObjects);
      this.catchUp();
      return true;
    }

    // `*` at the end of a filter stands for all that goes on from there.
    onChange(filter, callback) {
      if (this.filters.length < FILTERS_MAX && typeof filter === 'string') {
        this.filters.push({ filter, callback });
      }
    }

    tell(event) {
      for (const { filter, callback } of this.filters) {
        const fits = filter.endsWith('*') ? event.field.startsWith(filter.slice(0, -1)) : event.field === filter;
        if (fits) {
          call(`a change of ${this.url}`, callback, event);
        }
      }
    }

    onDisconnected(callback) {
      this.disconnected = callback;
      return Promise.resolve();
    }

    execute(method, params) {
      return this.syncher.request({ type: 'execute', to: this.url, body: { method, params } });
    }

    end() {
      this.status = 'disconnected';
      if (this.gap !== null) {
        api.cancel(this.gap);
      }
      this.release();
      this.syncher.forget(this);
    }

    unsubscribe() {
      this.end();
      return this.syncher.ask('unsubscribe', { resource: this.url });
    }

    delete() { return this.unsubscribe(); }
  }

  Object.assign(api.sync, { Reporter, Observer });
})
