#!/usr/bin/env bash
# Trains the released model on folders of photographs, in two stages; the same command goes on where
# it stopped:
#   launch/train_release.sh FOLDER...
# Settings for both stages follow after --, such as
#   launch/train_release.sh FOLDER... -- --config.data.cache_dir=DIR --config.num_steps=2000
# RELEASE_VARIANT=regress or gpu is for the other variants of configs/release.py, and
# RELEASE_WORKDIR for another place than runs/release, or runs/release-VARIANT.
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
variant="${RELEASE_VARIANT:-classify}"
workdir="${RELEASE_WORKDIR:-runs/release${RELEASE_VARIANT:+-$variant}}"
here="$(dirname "${BASH_SOURCE[0]}")"

stage() {
    local name="$1"
    shift
    "$here/run.sh" --config="$here/../configs/release.py:$variant,$name" \
        --config.data.source="$source_setting" --workdir="$workdir/$name" "$@"
}

stage first "$@"
stage second --config.init_from="$workdir/first" "$@"
echo "colorjax export $workdir/second -o FILE makes one file of it"
