#!/usr/bin/env bash
# Runs the benchmarks on one GPU in under eight minutes:
#   launch/benchmark_gpu.sh FOLDER [BENCHMARK OPTION...]
# FOLDER gets a .txt and a .json for each setting, the most important first. Settings for which no
# time is left are listed at the end. Environment variables:
#   COLORJAX_PYTHON   an interpreter with all requirements; default: a new .venv with CUDA 12
#   COLORJAX_SECONDS  the time limit in seconds; default: 460
#   COLORJAX_BATCHES  batch sizes in order of importance; default: "32 128 6"
#   COLORJAX_DTYPES   default: "bfloat16 float32"
set -euo pipefail
folder="${1:?want a folder for the tables}"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
options=("${@:2}")
PYTHON="${COLORJAX_PYTHON:-}"
if [ -z "$PYTHON" ]; then
    export COLORJAX_EXTRAS="${COLORJAX_EXTRAS:-cuda}"
    set -- train benchmark
    source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Sections share their compiled programs.
export JAX_COMPILATION_CACHE_DIR="$folder/compiled" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
limit="${COLORJAX_SECONDS:-460}"
SECONDS=0
missing=()

# measure NAME ARGUMENT...: runs benchmarks until the time is up; finished sections are written
measure() {
    local name="$1" left=$((limit - SECONDS))
    if ((left < 10)) || ! timeout "$left" "$PYTHON" -m benchmarks "${@:2}" \
        --objective=classification --json "$folder/$name.json" \
        ${options[@]+"${options[@]}"} >"$folder/$name.txt" 2>&1; then
        missing+=("$name")
    fi
    [ ! -e "$folder/$name.txt" ] || cat "$folder/$name.txt"
}

first=1
for batch in ${COLORJAX_BATCHES:-32 128 6}; do
    for dtype in ${COLORJAX_DTYPES:-bfloat16 float32}; do
        sections=(networks)
        # These sections are slow and depend little on the setting, so they run only once.
        ((first)) && sections+=(ceiling loader)
        [ "$dtype" = bfloat16 ] && sections+=(memory)
        measure "batch${batch}_$dtype" "${sections[@]}" --batch "$batch" --dtype "$dtype"
        first=0
    done
done
if ((${#missing[@]})); then
    echo "not finished in $limit s, or failed (see the .txt): ${missing[*]}" >&2
    exit 1
fi
