#!/usr/bin/env bash
# Installs the requirements on the first call, then runs the tests: launch/test.sh [PYTEST OPTIONS]
set -euo pipefail
arguments=("$@")
set -- train test
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
exec "$PYTHON" -m pytest -q -n auto --maxprocesses=4 --dist worksteal "$root/tests" \
    ${arguments[@]+"${arguments[@]}"}
