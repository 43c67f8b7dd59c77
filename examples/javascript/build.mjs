// Builds a handler: node build.mjs HANDLER [OUT]
//
// HANDLER is JavaScript or TypeScript that exports `describe` and `handle`; both may be async. It
// is bundled with `weir.js` and all its imports, async functions are rewritten so that QuickJS runs
// them to their end, and the bundle becomes a component.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { componentize } from 'componentize-qjs';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const [handler, out = `${basename(handler ?? '', extname(handler ?? ''))}.wasm`] = process.argv.slice(2);
if (handler === undefined) {
  console.error('usage: node build.mjs HANDLER [OUT]');
  process.exit(2);
}

// The prelude comes first, so that the handler can use it while it is loaded.
const main = `
  import { prelude, toItsEnd } from ${JSON.stringify(join(here, 'weir.js'))};
  import * as handler from ${JSON.stringify(resolve(handler))};
  globalThis[prelude] = true;
  export const describe = toItsEnd(handler.describe);
  export const handle = toItsEnd(handler.handle);
`;
const bundled = await build({
  stdin: { contents: main, resolveDir: process.cwd() },
  bundle: true,
  write: false,
  format: 'esm',
  external: ['weir:*'],
  supported: { 'async-await': false, 'async-generator': false, 'for-await': false, 'top-level-await': false },
});

const folder = await mkdtemp(join(tmpdir(), 'weir-'));
try {
  const jsPath = join(folder, 'handler.js');
  await writeFile(jsPath, bundled.outputFiles[0].text);
  const wit = process.env.WEIR_WIT ?? join(here, '../../wit');
  const { component } = await componentize({
    witPath: wit,
    jsSource: bundled.outputFiles[0].text,
    jsPath,
    moduleRoot: folder,
    world: 'handler',
    sync: true,
  });
  await writeFile(out, component);
} finally {
  await rm(folder, { recursive: true });
}
