// JavaScript as componentize-qjs builds it without the prelude: the code after the first `await`
// does not run.
import * as log from 'weir:handler/log@0.1.1';

export function describe() {}

export async function handle() {
  await null;
  log.info('never said');
}
