// Timers. The host keeps the times, this keeps what is called.
(function (host, global, api) {
  'use strict';

  const TIMERS_MAX = 4096;
  const timers = new Map();
  let last = 0;

  const start = (handler, delay, args, repeat) => {
    if (timers.size >= TIMERS_MAX) {
      throw new RangeError(`more than ${TIMERS_MAX} timers`);
    }
    const ms = Math.max(1, Math.min(Number(delay) || 0, 0x7fffffff));
    last += 1;
    timers.set(last, { handler, ms, args, repeat });
    host.arm(last, ms);
    return last;
  };

  const stop = (id) => {
    if (timers.delete(Number(id))) {
      host.disarm(Number(id));
    }
  };

  api.fire = (id) => {
    const timer = timers.get(id);
    if (timer === undefined) {
      return;
    }
    if (timer.repeat) {
      host.arm(id, timer.ms);
    } else {
      timers.delete(id);
    }
    const call = typeof timer.handler === 'function'
      ? timer.handler : () => (0, eval)(String(timer.handler));
    api.guard('a timer', call, undefined, timer.args);
  };

  api.after = (ms, call) => start(call, ms, [], false);
  api.cancel = stop;

  api.define('setTimeout', (handler, delay, ...args) => start(handler, delay, args, false));
  api.define('setInterval', (handler, delay, ...args) => start(handler, delay, args, true));
  api.define('setImmediate', (handler, ...args) => start(handler, 0, args, false));
  api.define('clearTimeout', stop);
  api.define('clearInterval', stop);
  api.define('clearImmediate', stop);
})
