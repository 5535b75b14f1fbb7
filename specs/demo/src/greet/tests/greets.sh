#!/bin/sh
# greet says hello to somebody, and to everybody if nobody is named.
set -eu

expect() {
    said=$("$greet" $2)
    if [ "$said" != "$1" ]; then
        echo "greet $2: expected '$1', got '$said'" >&2
        exit 1
    fi
}

greet=$1
expect 'Hello, world!' ''
expect 'Hello, Perestroika!' 'Perestroika'
echo "greet: 2 tests passed"
