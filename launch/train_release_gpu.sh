#!/usr/bin/env bash
# Trains the released model on one GPU within a time limit, from a packed folder of photographs
# (python -m colorjax.data.pack FOLDER... -o PACKED), and exports it:
#   launch/train_release_gpu.sh PACKED[,PACKED...] SECONDS [-- --config.NAME=VALUE...]
# SECONDS includes reading, compiling, measuring and exporting. Environment variables:
#   COLORJAX_VARIANT  variant of configs/release.py; default: gpu; gpu,seen adds the perceptual loss
#   COLORJAX_PYTHON   an interpreter with all requirements; default: a new .venv with CUDA 12
#   COLORJAX_OUTPUT   folder for the run and model.safetensors; default: runs/release-gpu
set -euo pipefail
SECONDS=0
if [ $# -lt 2 ]; then
    echo "usage: launch/train_release_gpu.sh PACKED SECONDS [-- --config.NAME=VALUE...]" >&2
    exit 2
fi
packed="$1" limit="$2"
reserve=40 # seconds for imports, and for measuring, drawing and exporting at the end
least=150  # compiling alone takes up to 100 seconds
if ! [[ "$limit" =~ ^[1-9][0-9]{0,6}$ ]] || [ "$limit" -lt $least ]; then
    echo "SECONDS is '$limit', want a whole number of at least $least" >&2
    exit 2
fi
shift 2
[ "${1:-}" != -- ] || shift
options=("$@")
PYTHON="${COLORJAX_PYTHON:-}"
if [ -z "$PYTHON" ]; then
    export COLORJAX_EXTRAS="${COLORJAX_EXTRAS:-cuda}"
    set -- train
    source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
fi
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
output="${COLORJAX_OUTPUT:-runs/release-gpu}"
left=$((limit - SECONDS - reserve))
if [ $left -lt 1 ]; then
    echo "installing took $SECONDS of $limit seconds, which leaves no time to train: want more" >&2
    exit 2
fi
config="$root/configs/release.py:${COLORJAX_VARIANT:-gpu}"
"$PYTHON" -m colorjax.main --config="$config" --workdir="$output/run" \
    --config.data.source="packed:$packed" --config.num_seconds=$left \
    ${options[@]+"${options[@]}"}
"$PYTHON" -m colorjax export "$output/run" -o "$output/model.safetensors"
