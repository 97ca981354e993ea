#!/bin/sh
# Makes a virtual environment, or says in one line what is missing for it.
set -eu
python=$1
venv=$2
fail() { echo "imgmove: $1" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 || fail "no $python here: install Python 3.11 or newer, or run make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: imgmove needs Python 3.11 or newer (make PYTHON=python3.12 …)"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "this Python can't make virtual environments: on Debian and Ubuntu run apt-get install python3-venv"
rm -rf "$venv"
"$python" -m venv "$venv"
