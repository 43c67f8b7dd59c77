// Builds a handler: node build.mjs HANDLER [OUT]
//
// HANDLER is JavaScript or TypeScript that exports `describe` and `handle`; both may be async. It
// is bundled with `weir.js` and all its imports, async functions are rewritten so that QuickJS runs
// them to their end, and the bundle becomes a component.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
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

const wit = process.env.WEIR_WIT ?? (existsSync(join(here, 'wit')) ? join(here, 'wit') : join(here, '../../wit'));
const [, contract] = (await readFile(join(wit, 'handler.wit'), 'utf8')).match(/^package weir:handler@(.*);$/m);

// The sources import `weir:handler/log`, and a component the version of the contract too.
const functionsOfTheHub = {
  name: 'weir',
  setup(build) {
    build.onResolve({ filter: /^weir:handler\// }, ({ path }) => ({
      path: `${path.split('@')[0]}@${contract}`,
      external: true,
    }));
  },
};

// The prelude comes first, so that the handler can use it while it is loaded.
const main = `
  import { prelude, toItsEnd } from ${JSON.stringify(join(here, 'weir.js'))};
  import * as handler from ${JSON.stringify(resolve(handler))};
  globalThis[prelude] = true;
  export const describe = toItsEnd(handler.describe);
  export const handle = toItsEnd(handler.handle);
`;
const [map, bundle] = (await build({
  stdin: { contents: main, resolveDir: process.cwd() },
  bundle: true,
  write: false,
  // Written nowhere; the names of the sources are relative to it.
  outfile: join(dirname(resolve(handler)), 'bundle.js'),
  sourcemap: 'external',
  sourcesContent: false,
  format: 'esm',
  plugins: [functionsOfTheHub],
  supported: { 'async-await': false, 'async-generator': false, 'for-await': false, 'top-level-await': false },
})).outputFiles;
// At its end, so that no line moves: the prelude names the lines of an error by it.
const { sources, mappings } = JSON.parse(map.text);
const source = `${bundle.text}\nglobalThis.weirSourceMap = ${JSON.stringify({ sources, mappings })};\n`;

const folder = await mkdtemp(join(tmpdir(), 'weir-'));
try {
  const jsPath = join(folder, 'handler.js');
  await writeFile(jsPath, source);
  const { component } = await componentize({
    witPath: wit,
    jsSource: source,
    jsPath,
    moduleRoot: folder,
    world: 'handler',
    sync: true,
  });
  await writeFile(out, component);
} finally {
  await rm(folder, { recursive: true });
}
