PATH=$PWD/.venv/bin:$PATH
need componentize-py "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"
componentize-py -d wit -w handler componentize app -o 'build/%name%.wasm'
