#!/usr/bin/env bash
# Trains the released model on one GPU in a given time, from a packed folder of photographs
# (python -m colorjax.data.packed FOLDER... -o PACKED), and exports it:
#   launch/train_release_gpu.sh PACKED SECONDS [-- --config.NAME=VALUE...]
# A short run measures the speed first; the learning rate then falls to zero within what is left.
# Environment:
#   COLORJAX_PYTHON   an interpreter that has everything; otherwise .venv is made, with CUDA 12
#   COLORJAX_OUTPUT   folder for the run and model.safetensors, runs/release-gpu unless given
#   COLORJAX_STEPS    steps to train, where the speed is known: nothing is measured
set -euo pipefail
SECONDS=0
if [ $# -lt 2 ]; then
    echo "usage: launch/train_release_gpu.sh PACKED SECONDS [-- --config.NAME=VALUE...]" >&2
    exit 2
fi
packed="$1" limit="$2"
shift 2
[ "${1:-}" != -- ] || shift
options=("$@")
PYTHON="${COLORJAX_PYTHON:-}"
if [ -z "$PYTHON" ]; then
    export COLORJAX_EXTRAS="${COLORJAX_EXTRAS:-cuda}"
    set --
    source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
output="${COLORJAX_OUTPUT:-runs/release-gpu}"
# What the GPU still has to do when the last step is done: measure, draw and export.
reserve=60 probe_steps=150

train() {
    local workdir="$1" steps="$2"
    shift 2
    "$PYTHON" -m colorjax.main --config="$root/configs/release.py:gpu" --workdir="$workdir" \
        --config.data.source="packed:$packed" --config.num_steps="$steps" \
        ${options[@]+"${options[@]}"} "$@"
}

steps="${COLORJAX_STEPS:-}"
if [ -z "$steps" ]; then
    train "$output/probe" "$probe_steps" --config.log_every=50 --config.optimizer.warmup_steps=100
    steps="$("$PYTHON" - "$output/probe" $((limit - SECONDS - reserve)) <<'PYTHON'
import sys
from pathlib import Path

from colorjax import logs

workdir, seconds = Path(sys.argv[1]), float(sys.argv[2])
speed = max(row.get("images/s", 0) for row in logs.read_metrics(workdir))
print(int(0.93 * seconds * speed / logs.read_config(workdir)["batch_size"]))
PYTHON
    )"
    echo "$steps steps fit into what is left of $limit s"
fi
train "$output/run" "$steps"
"$PYTHON" -m colorjax export "$output/run" -o "$output/model.safetensors"
