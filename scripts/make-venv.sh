#!/usr/bin/env bash
# Create a virtual environment from the first interpreter that is new enough; keep one that already works.
# Usage: [PYTHON=python3.12] make-venv.sh DIRECTORY
set -euo pipefail
venv=$1
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

works() { "$1" -c "$new_enough" >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if works "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    local found
    found=$(python3 --version 2>&1) || found="missing"
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is not a working Python 3.11 or later. Name one that is, as in: make setup PYTHON=python3.12" >&2
    else
        echo "found no Python 3.11 or later (python3 is $found)." \
            "Install one, or name it, as in: make setup PYTHON=/opt/python3.12/bin/python3" >&2
    fi
    return 1
}

if [ -z "${PYTHON:-}" ] && works "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
python=$(find_python)
echo "creating $venv with $("$python" --version) ($python)"
if ! "$python" -m venv --clear "$venv"; then
    rm -rf "$venv"
    echo "$python cannot make virtual environments; on Debian and Ubuntu install the package python3-venv, then try again." >&2
    exit 1
fi
