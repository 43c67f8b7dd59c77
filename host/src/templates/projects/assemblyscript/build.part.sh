need node "https://nodejs.org, version 20 or later"
need npm "https://nodejs.org, version 20 or later"
[ -d node_modules ] || npm install --silent --no-audit --no-fund
node_modules/.bin/asc main.ts --config node_modules/@assemblyscript/wasi-shim/asconfig.json \
  --transform json-as/transform -O2 --exportStart _start --outFile 'build/%name%.wasm'
