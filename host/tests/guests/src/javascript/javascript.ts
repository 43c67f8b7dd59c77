// Follows the event's body, with each construct of JavaScript that defers work. It is TypeScript,
// which is built in the same way.
import * as request from 'weir:handler/request@0.1.1';
import * as log from 'weir:handler/log@0.1.1';

export function describe(): void {}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function* numbers() {
  for (let n = 1; n <= 3; n += 1) {
    await pause(n);
    yield n;
  }
}

const ways: Record<string, () => unknown> = {
  async awaits() {
    log.info('before');
    await null;
    log.info('after');
    await pause(86_400_000);
    log.info('a day later');
    for await (const n of numbers()) log.info(`number ${n}`);
  },
  leaves() {
    Promise.resolve(1).then((n) => log.info(`then ${n}`)).finally(() => log.info('finally'));
    (async () => { await pause(1); log.info('left alone'); })();
    queueMicrotask(() => log.info('microtask'));
    setTimeout(() => log.info('second'), 20);
    setTimeout(() => log.info('first'), 10);
    clearTimeout(setTimeout(() => log.info('never'), 5));
  },
  async together() {
    const late = async (value: string, ms: number) => { await pause(ms); return value; };
    log.info((await Promise.all([late('a', 9), 'b', late('c', 1)])).join());
    log.info(await Promise.race([late('slow', 9), late('quick', 1)]));
    log.info(await Promise.any([Promise.reject(new Error('no')), late('any', 1)]));
    const settled = await Promise.allSettled([Promise.reject(new Error('no')), 1]);
    log.info(settled.map((one) => one.status).join());
    try {
      await Promise.reject(new Error('caught'));
    } catch (error) {
      log.info(String(error));
    }
  },
  random() {
    const bytes = crypto.getRandomValues(new Uint8Array(8));
    log.info(`${Math.random()} ${crypto.randomUUID()} ${bytes.join('.')}`);
  },
  speaks() {
    console.log('text', 1, { a: [1, null] }, [new Error('inside')], undefined, 7n);
    console.debug('debug');
    console.warn('warn');
    console.error('error');
  },
  throws() { throw new Error('thrown'); },
  async rejects() { await null; throw { tag: 'reject', val: 'not ours' }; },
  forgets() { (async () => { await null; throw new Error('forgotten'); })(); },
  waits() { return new Promise(() => {}); },
};

export function handle() {
  return ways[request.text()]();
}
