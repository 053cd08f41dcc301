#!/usr/bin/env bash
# The tables of one GPU, in under eight minutes: launch/benchmark_gpu.sh FOLDER [BENCHMARK OPTION...]
# FOLDER gets a .txt and a .json for each setting, the most telling first; what there is no time
# left for is named at the end. Environment:
#   COLORJAX_PYTHON   an interpreter that has everything; otherwise .venv is made, with CUDA 12
#   COLORJAX_SECONDS  all that may be used, 460 unless given
#   COLORJAX_BATCHES  batch sizes, in order of importance: "32 128 6" unless given
#   COLORJAX_DTYPES   "bfloat16 float32" unless given
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
# A program that one section has compiled is not compiled again for the next.
export JAX_COMPILATION_CACHE_DIR="$folder/compiled" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
limit="${COLORJAX_SECONDS:-460}"
SECONDS=0
missing=()

# measure NAME ARGUMENT...: the benchmarks, ended when the time is up; finished sections are kept
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
        # Once is enough for what costs much and varies little.
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
