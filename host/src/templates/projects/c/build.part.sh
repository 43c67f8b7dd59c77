zig=zig
command -v zig >/dev/null 2>&1 || zig=python-zig
need "$zig" "pip install ziglang, or https://ziglang.org/download"
need jco "npm install --global @bytecodealliance/jco, which needs Node.js 20 or later"
# With assertions, and with names (-g) for the reason of a crash.
"$zig" cc -target wasm32-wasi -mexec-model=reactor -std=c11 -Os -g -UNDEBUG -Wall -Wextra \
  handler.c rule.c json.c bindings/handler.c -o build/core.wasm
# The types of the contract, then what the C library asks of WASI. The hub grants nothing.
cat build/core.wasm wit/component-type.section > build/typed.wasm
jco new build/typed.wasm --wasi-reactor --output 'build/%name%.wasm'
