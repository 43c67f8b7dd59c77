need node "https://nodejs.org, version 20 or later"
need npm "https://nodejs.org, version 20 or later"
[ -d node_modules ] || npm install --silent --no-audit --no-fund
npm run --silent check
node build.mjs handler.ts 'build/%name%.wasm'
