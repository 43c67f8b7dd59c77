need cargo "the installer of https://rustup.rs"
# Any target that gives a component is right; this is the one that rustup has ready.
target=${WASM_TARGET:-wasm32-wasip2}
if [ ! -d "$("${RUSTC:-rustc}" --print target-libdir --target "$target")" ]; then
  echo "build.sh: Rust has no target $target here; get it with: rustup target add $target" >&2
  exit 1
fi
cargo build --release --target "$target"
cp "${CARGO_TARGET_DIR:-target}/$target/release/%crate%.wasm" 'build/%name%.wasm'
