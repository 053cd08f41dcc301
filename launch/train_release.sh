#!/usr/bin/env bash
# Trains the released model on folders of photographs; the same command goes on where it stopped:
#   launch/train_release.sh FOLDER...
# Settings follow after --, such as
#   launch/train_release.sh FOLDER... -- --config.data.cache_dir=DIR --config.num_steps=2000
# and RELEASE_VARIANT=regress or gpu is for the other variants of configs/release.py.
set -euo pipefail
folders=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    folders+=("$1")
    shift
done
[ $# -gt 0 ] && shift
if [ ${#folders[@]} -eq 0 ]; then
    echo "usage: launch/train_release.sh FOLDER... [-- --config.NAME=VALUE...]" >&2
    exit 2
fi
source_setting="folder:$(IFS=,; echo "${folders[*]}")"
variant="${RELEASE_VARIANT:+:$RELEASE_VARIANT}"
here="$(dirname "${BASH_SOURCE[0]}")"
exec "$here/run.sh" --config="$here/../configs/release.py$variant" \
    --config.data.source="$source_setting" "$@"
