// Takes the code in whichever form it was published, finds what to activate, and activates it.
(function (host, global, api) {
  'use strict';

  const FunctionOf = Function;
  const sourceOf = Function.prototype.toString;

  const offered = {
    ws: () => global.WebSocket,
    atob: () => global.atob,
    btoa: () => global.btoa,
  };
  const require = (name) => {
    if (!Object.hasOwn(offered, name)) {
      throw new Error(`require('${name}'): there is no such module here; offered are ${Object.keys(offered).join(', ')}`);
    }
    return offered[name]();
  };
  api.define('require', require);

  // ----- System.register

  let registered = null;
  api.define('System', {
    register(...args) {
      const declare = args.pop();
      const dependencies = Array.isArray(args[args.length - 1]) ? args.pop() : [];
      registered = { dependencies, declare };
    },
    import(name) { return Promise.reject(new Error(`System.import('${name}') is not offered here`)); },
  });

  const instantiate = async ({ dependencies, declare }) => {
    const namespace = {};
    const put = (name, value) => {
      if (typeof name === 'object' && name !== null) {
        Object.assign(namespace, name);
        return name;
      }
      namespace[name] = value;
      return value;
    };
    const context = { id: 'component', meta: { url: 'component' }, import: global.System.import };
    const { setters = [], execute } = declare(put, context) || {};
    dependencies.forEach((name, at) => {
      const found = require(name);
      if (typeof setters[at] === 'function') {
        setters[at]({ default: found, __useDefault: true });
      }
    });
    if (typeof execute === 'function') {
      await execute();
    }
    return namespace;
  };

  // ----- what to activate

  const isClass = (value) => typeof value === 'function' && (
    (value.prototype && (typeof value.prototype._start === 'function' || typeof value.prototype._init === 'function'))
    || /^class\b/.test(sourceOf.call(value)));
  const isStarted = (value) => value !== null && typeof value === 'object' && typeof value._start === 'function';
  const member = (value, name) => (value !== null && value !== undefined
    && (typeof value === 'object' || typeof value === 'function') ? value[name] : undefined);

  const pick = (candidates) => {
    for (const candidate of candidates) {
      const inner = [member(candidate, 'default'), candidate, member(candidate, 'activate')];
      inner.push(member(inner[0], 'default'), member(inner[2], 'default'), member(inner[0], 'activate'));
      for (const value of inner) {
        if (typeof value === 'function' || isStarted(value)) {
          return value;
        }
      }
    }
    return undefined;
  };

  // ----- load

  let entry;
  let instance;

  // Compiles a script as the body of a function, as non-strict as it was written. A top-level
  // `activate` is found too.
  api.compile = (source) => new FunctionOf('exports', 'module', 'require',
    `${source}\n;return typeof activate !== 'undefined' ? activate : undefined;`);

  const fail = (stage) => (error) => host.failed(stage, api.describe(error));

  const finish = async (pending, candidates) => {
    await pending;
    const all = registered === null ? [] : [await instantiate(registered)];
    all.push(...candidates());
    for (const place of ['window', 'global', 'self', 'globalThis']) {
      all.push(member(global[place], 'activate'));
    }
    entry = pick(all);
    if (entry === undefined) {
      throw new Error('the code exports nothing that can be activated');
    }
    host.loaded();
  };

  // Runs a compiled script.
  api.run = (script) => {
    try {
      const module = { exports: {}, id: 'component', loaded: false };
      const before = module.exports;
      const found = Reflect.apply(script, global, [module.exports, module, require]);
      const empty = module.exports === before && Object.keys(before).length === 0
        && Object.getOwnPropertyNames(before).length === 0;
      const candidates = () => (empty ? [found] : [module.exports, found]);
      finish(undefined, candidates).catch(fail('load'));
    } catch (error) {
      fail('load')(error);
    }
  };

  // Goes on when a module is evaluated.
  api.evaluated = (pending, namespace) => {
    finish(pending, () => [namespace]).catch(fail('load'));
  };

  // ----- activate

  const configurationOf = (text, runtimeURL) => {
    let value = text;
    for (let depth = 0; depth < 2 && typeof value === 'string'; depth += 1) {
      try {
        value = JSON.parse(value);
      } catch (_) {
        break;
      }
    }
    const configuration = value !== null && typeof value === 'object' ? value : {};
    if (configuration.runtimeURL === undefined) {
      configuration.runtimeURL = runtimeURL;
    }
    return configuration;
  };

  const nameOf = (result, started) => {
    for (const read of [() => result.name, () => started.name, () => started.constructor.name]) {
      try {
        const name = read();
        if (typeof name === 'string' && name !== '') {
          return name.toWellFormed().slice(0, 128);
        }
      } catch (_) {
        // A getter that throws has no name to give.
      }
    }
    return '';
  };

  const startInstance = (started, args) => {
    const begin = typeof started._start === 'function' ? started._start : started._init;
    const outcome = typeof begin === 'function' ? Reflect.apply(begin, started, args) : undefined;
    // Nobody waits for it, but what goes wrong is reported.
    Promise.resolve(outcome).catch((error) => host.uncaught(`in _start: ${api.describe(error)}`));
    return { instance: started };
  };

  const start = (args) => {
    if (isStarted(entry)) {
      return startInstance(entry, args);
    }
    if (!isClass(entry)) {
      return entry(...args);
    }
    const wants = entry.prototype
      && (typeof entry.prototype._start === 'function' || typeof entry.prototype._init === 'function');
    return wants ? startInstance(new entry(), args) : { instance: new entry(...args) };
  };

  api.activate = (url, text, runtimeURL) => {
    api.component = url;
    try {
      const configuration = configurationOf(text, runtimeURL);
      Promise.resolve(start([url, api.bus, configuration, api.factory])).then((result) => {
        const object = result !== null && typeof result === 'object';
        instance = object && 'instance' in result ? result.instance : result;
        host.activated(nameOf(result, instance));
      }).catch(fail('activate'));
    } catch (error) {
      fail('activate')(error);
    }
  };

  // ----- remove

  api.stop = () => {
    for (const name of ['disconnect', '_stop', 'stop', 'close']) {
      try {
        if (typeof instance[name] === 'function') {
          const outcome = instance[name]();
          Promise.resolve(outcome).catch(() => {});
          return;
        }
      } catch (_) {
        // It goes away whatever it says.
        return;
      }
    }
  };
})
