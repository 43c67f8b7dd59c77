#!/bin/sh
# Builds the handler into the plugins folder: ./build.sh [FOLDER]
set -eu
case ${1:-} in
  "") plugins='%hub%/plugins' ;;
  /*) plugins=$1 ;;
  *) plugins=$PWD/$1 ;;
esac
cd "$(dirname "$0")"

need() {
  command -v "$1" >/dev/null 2>&1 && return
  echo "build.sh: $1 is missing; get it with: $2" >&2
  exit 1
}

mkdir -p build
%build%

# The settings first, so that the hub knows the grants when it loads the module. Each file appears
# whole, by a rename.
put() {
  cp "$1" "$plugins/.$2.tmp"
  mv "$plugins/.$2.tmp" "$plugins/$2"
}
mkdir -p "$plugins"
put '%name%.toml' '%name%.toml'
put 'build/%name%.wasm' '%name%.wasm'
echo "wrote $plugins/%name%.wasm"
