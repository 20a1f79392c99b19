#!/bin/sh
# install_packages.sh LOCK: install exactly what the lock names into /opt/venv, or into the environment VENV names.
set -eu
environment=${VENV:-/opt/venv}
pip --python "$environment/bin/python" install --quiet --require-hashes --no-deps --only-binary :all: --no-compile \
    --requirement "$1"
"$environment/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$environment/lib"
