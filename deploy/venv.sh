#!/bin/sh
# Makes a virtual environment from a lock file: venv.sh FOLDER LOCK [PROJECT]
#
# Called by the Makefile and deploy/try_wheel.py. Takes the newest Python from 3.11 on that can make one, else uv
# (which brings its own Python), else says what to install. Everything that is installed has its hash in the lock;
# PROJECT (a wheel, or a source folder that is put on the path) is added without looking for more. The folder is made
# anew, so that nothing of an older lock stays in it.
set -eu

folder=$1
lock=$2
project=${3:-}

say() { printf '%s\n' "$*" >&2; }

# Prints the newest usable interpreter. One that cannot make an environment is of no use: Debian's comes without.
newest_python() {
    for python in python3.14 python3.13 python3.12 python3.11 python3 python; do
        # The one that an activated environment stands on: the environment itself may be the folder to be removed.
        "$python" -c 'import sys, venv, ensurepip
if not (3, 11) <= sys.version_info < (3, 15): sys.exit(1)
print(getattr(sys, "_base_executable", sys.executable))' 2>/dev/null && return
    done
    return 0
}

explain() {
    say "Trunkline needs Python 3.11 or newer (its lock reaches to 3.14), with its venv module. Install it, or uv, and try again:"
    case $(uname -s) in
        Darwin) say "  brew install python@3.13        or:  brew install uv" ;;
        *)
            say "  Debian, Ubuntu:  sudo apt-get install python3 python3-venv"
            say "  Fedora:          sudo dnf install python3"
            say "  anywhere:        pipx install uv"
            ;;
    esac
}

python=$(newest_python)
if [ -n "$python" ]; then
    say "making $folder with $("$python" --version), from $lock"
    rm -rf "$folder"
    "$python" -m venv "$folder"
    install() { "$folder/bin/python" -m pip install --quiet --quiet --disable-pip-version-check "$@"; }
elif command -v uv >/dev/null 2>&1; then
    say "making $folder with uv, from $lock"
    rm -rf "$folder"
    uv venv --quiet --python '>=3.11,<3.15' "$folder"
    install() { VIRTUAL_ENV=$folder uv pip install --quiet "$@"; }
else
    explain
    exit 1
fi
install --require-hashes -r "$lock"
case $project in
    '') ;;
    *.whl) install --no-deps "$project" ;;
    *) install --no-deps --no-build-isolation --editable "$project" ;;
esac
