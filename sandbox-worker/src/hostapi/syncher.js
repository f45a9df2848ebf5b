// `createSyncher`: one component's reporters and observers, and the messages between them and the
// synchronisation of the runtime at `<runtime>/sm`. Loaded when it is first asked for.
//
// What is kept where: the runtime gives an object its address, keeps its subscribers, and lets
// nobody be one whom its reporter has not let in; the data is with the components alone.
(function (host, global, api) {
  'use strict';

  const REPORTERS_MAX = 256;
  const OBSERVERS_MAX = 1024;
  const SUBSCRIPTION = '/subscription';

  const { Reporter, Observer, clone, call, isObject } = api.sync;
  const textOf = (body) => (isObject(body) && (body.desc || body.description)) || 'no answer';

  class Syncher {
    constructor(owner, bus, configuration) {
      if (typeof owner !== 'string' || !isObject(bus) || !isObject(configuration)) {
        throw new TypeError('createSyncher wants an address, a bus and a configuration');
      }
      this.owner = owner;
      this.bus = bus;
      this.runtime = configuration.runtimeURL;
      this.reporting = new Map();
      this.observing = new Map();
      bus.addListener(owner, (message) => {
        if (message.from !== owner && isObject(message.body)) {
          this.heard(message);
        }
      });
    }

    get reporters() { return Object.fromEntries(this.reporting); }
    get observers() { return Object.fromEntries(this.observing); }

    onNotification(callback) { this.notified = callback; }
    onClose(callback) { this.closed = callback; }
    onReportersResume() {}
    onObserversResume() {}

    // A request of the owner's; rejects with the sentence that the answer gives.
    request(message) {
      return new Promise((resolve, reject) => {
        this.bus.postMessage({ ...message, from: this.owner }, (reply) => {
          const code = Number(reply.body && reply.body.code) || 200;
          if (code >= 300) {
            reject(textOf(reply.body));
          } else if (code >= 200) {
            resolve(reply.body);
          }
        });
      });
    }

    ask(type, body) {
      return this.request({ type, to: `${this.runtime}/sm`, body });
    }

    // ----- reporters

    create(schema, observers, initial, store = false, p2p = false, name = 'no name', identity = undefined, input = {}) {
      if (typeof schema !== 'string' || !Array.isArray(observers)) {
        throw new TypeError('create wants the address of a schema and a list of observers');
      }
      if (this.reporting.size >= REPORTERS_MAX) {
        return Promise.reject(`more than ${REPORTERS_MAX} objects`);
      }
      const own = clone(input) || {};
      const value = {
        ...own, schema, name: own.name || name || 'no name', reporter: this.owner,
        created: new Date().toISOString(), runtime: this.runtime,
      };
      const body = { resume: false, schema, value };
      Object.assign(body, p2p ? { p2p: true } : {}, store ? { store: true } : {}, identity ? { identity } : {});
      return this.ask('create', body).then((answer) => {
        const reporter = new Reporter(this, { ...value, url: answer.resource, data: initial });
        this.reporting.set(reporter.url, reporter);
        reporter.inviteObservers(observers, p2p);
        return reporter;
      });
    }

    // ----- observers

    // As `(schema, resource, store, p2p, mutual, domain_subscription, identity)` or as one object.
    subscribe(...args) {
      const [schema, resource, store, p2p, mutual, , identity] = args;
      const input = isObject(schema) ? schema : { schema, resource, store, p2p, mutual, identity };
      if (typeof input.resource !== 'string') {
        throw new TypeError('subscribe wants the address of an object');
      }
      if (this.observing.size >= OBSERVERS_MAX) {
        return Promise.reject(`more than ${OBSERVERS_MAX} observed objects`);
      }
      return this.ask('subscribe', clone({ ...input, resume: false })).then((answer) => {
        // The answer is the reporter's, who has no say in other objects.
        if (answer.resource !== undefined && answer.resource !== input.resource) {
          this.ask('unsubscribe', { resource: input.resource }).catch(() => {});
          throw 'the answer is about another object';
        }
        const known = this.observing.get(input.resource);
        if (known !== undefined) {
          known.sync();
          return known;
        }
        const value = isObject(answer.value) ? clone(answer.value) : {};
        const observer = new Observer(this, { ...value, url: input.resource });
        this.observing.set(observer.url, observer);
        return observer;
      });
    }

    // The runtime keeps no objects: there is nothing to be resumed.
    resumeReporters(criteria) { return this.resumed('create', criteria); }
    resumeObservers(criteria) { return this.resumed('subscribe', criteria); }
    resumed(type, criteria) {
      return this.ask(type, { ...clone(criteria), resume: true }).then(() => ({}), () => ({}));
    }

    read(url) {
      return this.request({ type: 'read', to: url, body: {} }).then((body) => body.value);
    }

    forget(object) {
      this.reporting.delete(object.url);
      this.observing.delete(object.url);
    }

    // ----- what others tell the owner

    heard(message) {
      const { type, from, body } = message;
      if (type === 'create' && typeof from === 'string' && from.endsWith(SUBSCRIPTION)) {
        this.invited(message);
      } else if (type === 'execute' && body.method === 'close' && from === `${this.runtime}/registry`) {
        const ack = this.acknowledge(message);
        call('onClose', this.closed, { type: 'close', ack });
      }
    }

    // One answer to a request.
    acknowledge(message) {
      let open = true;
      return (code = 200) => {
        if (open && message.id !== undefined) {
          open = false;
          this.bus.postMessage({
            id: message.id, type: 'response', from: message.to, to: message.from, body: { code },
          });
        }
      };
    }

    invited(message) {
      const { source, schema, value, identity } = message.body;
      const url = message.from.slice(0, -SUBSCRIPTION.length);
      const domain = (/^[^:]+:\/\/([^/]+)/.exec(url) || [])[1];
      const ack = this.acknowledge(message);
      if (typeof this.notified === 'function') {
        call('onNotification', this.notified, { type: 'create', from: source, url, domain, schema, value, identity, ack });
      } else {
        ack(404);
      }
    }

    // The reporter took its object away, or is gone.
    ended(observer, body) {
      observer.end();
      call('onDisconnected', observer.disconnected, undefined);
      call('onNotification', this.notified, {
        type: 'delete', url: observer.url, identity: body.identity, ack() {},
      });
    }
  }

  api.createSyncher = (owner, bus, configuration) => new Syncher(owner, bus, configuration);
})
