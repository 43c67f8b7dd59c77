zig=zig
command -v zig >/dev/null 2>&1 || zig=python-zig
need "$zig" "pip install ziglang, or https://ziglang.org/download"
# With its checks, and with names and lines for the reason of a crash.
"$zig" build-exe main.zig -target wasm32-wasi -O ReleaseSafe '-femit-bin=build/%name%.wasm'
