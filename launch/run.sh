#!/usr/bin/env bash
# Installs colorjax and its requirements on the first call, then trains or evaluates:
#   launch/run.sh --config=configs/classify.py
# For a GPU: COLORJAX_EXTRAS=cuda launch/run.sh ... (cuda13 for CUDA 13)
set -euo pipefail
arguments=("$@")
set -- train
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
exec "$PYTHON" -m colorjax.main ${arguments[@]+"${arguments[@]}"}
