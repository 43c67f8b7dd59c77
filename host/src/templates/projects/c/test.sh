#!/bin/sh
# Runs the unit tests, as a program of this machine.
set -eu
cd "$(dirname "$0")"
mkdir -p build
${CC:-cc} -std=c11 -Wall -Wextra -g rule_test.c rule.c json.c -o build/rule_test
build/rule_test
