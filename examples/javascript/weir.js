// A prelude for JavaScript in QuickJS or SpiderMonkey inside a component. `build.mjs` puts it
// before your handler.
//
// - Promises: nothing runs a component's pending jobs, so that the code after the first `await`
//   would never run. Promises here have their own queue, which is run to its end before `handle`
//   returns. A promise that cannot settle, or a rejection that nothing handles, fails the run.
// - Randomness: the program starts when it is built, so that `Math.random()` would give the same
//   numbers in every run. Here they come from the run.
// - `console` writes into the handler's log.
// - An error names the files and lines of your sources, not those of the bundle.
import * as log from 'weir:handler/log';
import { random } from 'weir:handler/context';

// The hub recognises a module with the prelude by this text.
export const prelude = 'weir:javascript-prelude/1';

// --- a queue of jobs and timers
// -----------------------------------------------------------------------------------------

const jobs = [];
let timers = [];
let timerId = 0;
let timersNow = 0;
let running = false;
const rejected = new Set();

function drain() {
  for (;;) {
    for (let job; (job = jobs.shift());) job();
    if (timers.length === 0) return;
    // Nothing else can happen, and the run's clock stands still: the next timer is due at once.
    timers.sort((a, b) => a.at - b.at || a.id - b.id);
    const timer = timers[0];
    timersNow = timer.at;
    if (timer.every === undefined) timers.shift();
    else timer.at += timer.every;
    timer.call();
  }
}

function schedule(call, ms, args, again) {
  const wait = Math.max(1, Number(ms) || 0);
  const id = (timerId += 1);
  timers.push({ id, at: timersNow + wait, call: () => call(...args), every: again ? wait : undefined });
  return id;
}

function unschedule(id) {
  timers = timers.filter((timer) => timer.id !== id);
}

// --- promises
// -----------------------------------------------------------------------------------------------------------

const native = globalThis.Promise;
const PENDING = 0;
const FULFILLED = 1;
const REJECTED = 2;

class WeirPromise {
  #state = PENDING;
  #value = undefined;
  #reactions = [];
  #resolved = false;

  constructor(executor) {
    if (typeof executor !== 'function') throw new TypeError('a promise needs a function');
    try {
      executor((value) => this.#resolve(value), (reason) => this.#refuse(reason));
    } catch (error) {
      this.#refuse(error);
    }
  }

  get [Symbol.toStringTag]() { return 'Promise'; }
  static get [Symbol.species]() { return this; }

  #resolve(value) {
    if (this.#resolved) return;
    this.#resolved = true;
    this.#follow(value);
  }

  #refuse(reason) {
    if (this.#resolved) return;
    this.#resolved = true;
    this.#settle(REJECTED, reason);
  }

  #follow(value) {
    if (value === this) return this.#settle(REJECTED, new TypeError('a promise cannot wait for itself'));
    if (value === null || (typeof value !== 'object' && typeof value !== 'function')) {
      return this.#settle(FULFILLED, value);
    }
    let then;
    try {
      then = value.then;
    } catch (error) {
      return this.#settle(REJECTED, error);
    }
    if (typeof then !== 'function') return this.#settle(FULFILLED, value);
    jobs.push(() => {
      let called = false;
      const once = (next) => (result) => {
        if (called) return;
        called = true;
        next(result);
      };
      const fail = once((reason) => this.#settle(REJECTED, reason));
      try {
        then.call(value, once((result) => this.#follow(result)), fail);
      } catch (error) {
        fail(error);
      }
    });
  }

  #settle(state, value) {
    this.#state = state;
    this.#value = value;
    if (state === REJECTED && this.#reactions.length === 0) rejected.add(this);
    for (const reaction of this.#reactions) jobs.push(() => reaction(state, value));
    this.#reactions = [];
  }

  then(fulfilled, refused) {
    const Kind = this.constructor?.[Symbol.species] ?? WeirPromise;
    return new Kind((resolve, reject) => {
      const reaction = (state, value) => {
        const handler = state === FULFILLED ? fulfilled : refused;
        if (typeof handler !== 'function') return state === FULFILLED ? resolve(value) : reject(value);
        try {
          resolve(handler(value));
        } catch (error) {
          reject(error);
        }
      };
      rejected.delete(this);
      if (this.#state === PENDING) this.#reactions.push(reaction);
      else jobs.push(() => reaction(this.#state, this.#value));
    });
  }

  catch(refused) { return this.then(undefined, refused); }

  finally(call) {
    if (typeof call !== 'function') return this.then(call, call);
    const Kind = this.constructor;
    return this.then(
      (value) => Kind.resolve(call()).then(() => value),
      (reason) => Kind.resolve(call()).then(() => { throw reason; }),
    );
  }

  // The outcome of a promise after the queue is empty.
  static outcome(promise) {
    rejected.delete(promise);
    if (promise.#state === PENDING) {
      throw new Error('handle returned a promise that nothing settles: what it waits for can never happen in a handler');
    }
    if (promise.#state === REJECTED) throw promise.#value;
    return promise.#value;
  }

  // The reason of a rejection that nothing handles.
  static reason(promise) { return promise.#value; }

  static resolve(value) {
    if (value instanceof WeirPromise && value.constructor === this) return value;
    return new this((resolve) => resolve(value));
  }

  static reject(reason) { return new this((_, reject) => reject(reason)); }

  static withResolvers() {
    let resolve, reject;
    const promise = new this((...both) => { [resolve, reject] = both; });
    return { promise, resolve, reject };
  }

  static try(call, ...args) { return new this((resolve) => resolve(call(...args))); }

  static all(values) {
    return collect(this, values, (item, done, reject) => item.then(done, reject));
  }

  static allSettled(values) {
    return collect(this, values, (item, done) => item.then(
      (value) => done({ status: 'fulfilled', value }),
      (reason) => done({ status: 'rejected', reason }),
    ));
  }

  static any(values) {
    return new this((resolve, reject) => {
      collect(this, values, (item, done) => item.then(resolve, done))
        .then((errors) => reject(new AggregateError(errors, 'all promises were rejected')), reject);
    });
  }

  static race(values) {
    return new this((resolve, reject) => {
      for (const value of values) this.resolve(value).then(resolve, reject);
    });
  }
}

function collect(Kind, values, each) {
  return new Kind((resolve, reject) => {
    const results = [];
    let open = 1;
    const close = () => { if ((open -= 1) === 0) resolve(results); };
    let index = 0;
    for (const value of values) {
      const at = index++;
      open += 1;
      each(Kind.resolve(value), (result) => { results[at] = result; close(); }, reject);
    }
    close();
  });
}

Object.defineProperty(WeirPromise, 'name', { value: 'Promise' });
globalThis.Promise = WeirPromise;
// It would create the engine's own promises, which nothing runs.
delete Array.fromAsync;
globalThis.queueMicrotask = (call) => { jobs.push(call); };
globalThis.setTimeout = (call, ms, ...args) => schedule(call, ms, args, false);
globalThis.setInterval = (call, ms, ...args) => schedule(call, ms, args, true);
globalThis.setImmediate = (call, ...args) => schedule(call, 0, args, false);
globalThis.clearTimeout = globalThis.clearInterval = globalThis.clearImmediate = unschedule;

// --- randomness
// ---------------------------------------------------------------------------------------------------------

let bytes = [];

function randomBytes(length) {
  if (!running) throw new Error('randomness outside of `handle` would be the same in every run; ask for it in `handle`');
  if (bytes.length < length) bytes = Array.from(random(1024));
  return bytes.splice(0, length);
}

Math.random = () => {
  const [a, b, c, d, e, f, g] = randomBytes(7);
  return ((a & 31) * 2 ** 48 + b * 2 ** 40 + c * 2 ** 32 + d * 2 ** 24 + e * 2 ** 16 + f * 2 ** 8 + g) / 2 ** 53;
};

const crypto = {
  getRandomValues(array) {
    const view = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    for (let at = 0; at < view.length; at += 512) view.set(randomBytes(Math.min(512, view.length - at)), at);
    return array;
  },
  randomUUID() {
    const hex = randomBytes(16).map((byte, at) => {
      const value = at === 6 ? (byte & 15) | 64 : at === 8 ? (byte & 63) | 128 : byte;
      return value.toString(16).padStart(2, '0');
    }).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  },
};
Object.defineProperty(globalThis, 'crypto', { value: crypto, configurable: true, writable: true });

// --- console
// ------------------------------------------------------------------------------------------------------------

function shown(value) {
  if (typeof value === 'string') return value;
  if (value instanceof Error) return `${value}\n${value.stack ?? ''}`.trimEnd();
  if (typeof value === 'function') return `[function ${value.name}]`;
  if (typeof value !== 'object' || value === null) return typeof value === 'bigint' ? `${value}n` : String(value);
  const seen = [];
  const plain = (key, inner) => {
    if (typeof inner === 'bigint') return `${inner}n`;
    if (inner instanceof Map) return [...inner];
    if (inner instanceof Set) return [...inner];
    if (inner instanceof Error) return String(inner);
    if (typeof inner === 'object' && inner !== null) {
      if (seen.includes(inner)) return '[seen already]';
      seen.push(inner);
    }
    return inner;
  };
  try {
    return JSON.stringify(value, plain) ?? String(value);
  } catch (error) {
    return `[${error}]`;
  }
}

const says = (write) => (...values) => write(values.map(shown).join(' '));
const counts = {};
globalThis.console = {
  log: says(log.info),
  info: says(log.info),
  debug: says(log.debug),
  trace: says(log.debug),
  dir: says(log.info),
  table: says(log.info),
  warn: says(log.warn),
  error: says(log.error),
  assert: (holds, ...values) => { if (!holds) log.error(['assertion failed', ...values.map(shown)].join(' ')); },
  count: (label = 'default') => log.info(`${label}: ${(counts[label] = (counts[label] ?? 0) + 1)}`),
  group: says(log.info),
  groupEnd() {},
  time() {},
  timeEnd() {},
};

// --- places of errors
// -------------------------------------------------------------------------------------------------------

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

// The numbers of a segment of a source map: base 64, five bits a digit, the sign in the last bit.
function numbers(segment) {
  const found = [];
  let value = 0;
  let shift = 0;
  for (const digit of segment) {
    const bits = DIGITS.indexOf(digit);
    value |= (bits & 31) << shift;
    shift += 5;
    if (bits & 32) continue;
    found.push(value & 1 ? -(value >> 1) : value >> 1);
    value = shift = 0;
  }
  return found;
}

// The place in the sources of a place in the bundle, such as `rule.js:12:3`.
function sourceOf(line, column) {
  const { sources, mappings } = globalThis.weirSourceMap;
  let [source, sourceLine, sourceColumn, found] = [0, 0, 0, undefined];
  mappings.split(';').slice(0, line).forEach((segments, index) => {
    let at = 0;
    for (const segment of segments.split(',')) {
      const [moved, ...origin] = numbers(segment);
      at += moved ?? 0;
      if (origin.length < 3) continue;
      source += origin[0];
      sourceLine += origin[1];
      sourceColumn += origin[2];
      if (index === line - 1 && at < column) found = `${sources[source]}:${sourceLine + 1}:${sourceColumn + 1}`;
    }
  });
  return found;
}

// Gives an error the stack of the sources, without the frames of this prelude.
function locate(error) {
  if (!(error instanceof Error) || globalThis.weirSourceMap === undefined) return error;
  const frames = [];
  for (const [, name, line, column] of String(error.stack).matchAll(/at (\S+) \(\S+?:(\d+):(\d+)\)/g)) {
    const place = sourceOf(Number(line), Number(column));
    if (place !== undefined && !/(^|\/)weir\.js:|<stdin>:/.test(place)) frames.push(`    at ${name} (${place})\n`);
  }
  error.stack = frames.join('');
  if (error.name !== 'Error') error.message = `${error.name}: ${error.message}`;
  return error;
}

// --- the handler
// --------------------------------------------------------------------------------------------------------

// Calls a function, runs the queue to its end, and returns or throws the outcome.
function toItsEnd(call) {
  if (typeof call !== 'function') throw new TypeError('a handler exports the functions `describe` and `handle`');
  return (...args) => {
    running = true;
    try {
      let result = call(...args);
      if (result instanceof native) {
        throw new Error('handle returned a promise of the engine, which nothing runs: build the handler with build.mjs');
      }
      if (typeof result?.then === 'function') result = WeirPromise.resolve(result);
      drain();
      if (result instanceof WeirPromise) result = WeirPromise.outcome(result);
      for (const promise of rejected) throw WeirPromise.reason(promise);
      return result;
    } catch (error) {
      throw locate(error);
    }
  };
}

export { toItsEnd };
