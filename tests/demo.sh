#!/bin/sh
# The main job on the example photos: look, upload to the embedded Hub, load back. Called by `make demo`.
set -eu
PATH="$BIN:$PATH"
say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }
[ -t 1 ] || say() { printf '\n$ %s\n' "$*"; "$@"; }

say qflux scan tests/data/photo_edits
say qflux upload-dataset tests/data/photo_edits me/photo-edits --hub local
say python upload_dataset.py
