#!/usr/bin/env bash
# Installs what is needed on the first call, then trains or measures:
#   launch/run.sh --config=configs/classify.py
# On a GPU: COLORJAX_EXTRAS=cuda launch/run.sh ... (cuda13 for CUDA 13)
set -euo pipefail
arguments=("$@")
set -- train
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
exec "$PYTHON" -m colorjax.main ${arguments[@]+"${arguments[@]}"}
