#!/usr/bin/env bash
# Trains the released model on folders of photographs, without a GPU. The same command resumes a
# stopped training:
#   launch/train_release.sh FOLDER...
# Settings for both stages follow after --, for example
#   launch/train_release.sh FOLDER... -- --config.data.cache_dir=DIR --config.batch_size=16
# RELEASE_VARIANT=regress trains the paper's regression with the same budget, RELEASE_STEPS sets the
# number of steps of the first stage, and RELEASE_WORKDIR the folder of the run (default:
# runs/release, or runs/release-VARIANT).
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
# Two simulated devices keep two cores busy while one of them runs single-threaded kernels of XLA.
# The malloc settings stop the allocator from returning memory, which is slow to allocate again.
if [ "$(getconf _NPROCESSORS_ONLN)" -gt 1 ]; then
    export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=2"
fi
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296

stage() {
    local name="$1"
    shift
    "$here/run.sh" --config="$here/../configs/release.py:$variant,$name" \
        --config.data.source="$source_setting" --workdir="$workdir" "$@"
}

# If the stage is stopped or fails, the script ends here.
stage first ${RELEASE_STEPS:+--config.num_steps="$RELEASE_STEPS"} "$@"
# The second stage has a time limit instead of a number of steps, so a file marks its end.
if [ ! -e "$workdir/finished" ]; then
    stage second ${RELEASE_STEPS:+--config.steps_before="$RELEASE_STEPS"} "$@"
    touch "$workdir/finished"
fi
echo "colorjax export $workdir -o FILE makes one file of it"
