# Sourced by the other scripts: creates .venv next to launch/ if it is missing and installs colorjax
# into it. COLORJAX_EXTRAS adds extras to those of the script, for example cuda or cuda13.
#   source venv.sh EXTRA...   sets $PYTHON

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="$(tr ' ' ',' <<<"$*${COLORJAX_EXTRAS:+ $COLORJAX_EXTRAS}")"
extras="${extras#,}"
PYTHON="$root/.venv/bin/python"

if [ ! -x "$PYTHON" ]; then
    for base in python3 python3.13 python3.12 python3.11 ""; do
        if [ -z "$base" ]; then
            echo "colorjax: no Python 3.11 or newer found on the PATH" >&2
            exit 2
        fi
        "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    done
    # The next call would take an incomplete environment for a complete one.
    "$base" -m venv "$root/.venv" || { rm -rf "$root/.venv"; exit 2; }
fi

# Installs once for each set of extras, and again when the requirements change.
stamp="$root/.venv/installed-${extras:-plain}"
if [ ! -e "$stamp" ] || [ "$root/setup.cfg" -nt "$stamp" ]; then
    echo "Installing colorjax${extras:+[$extras]} and what it needs into $root/.venv:" \
        "once, one to three minutes, 1 GB" >&2
    # Most modules are never imported, so none are compiled now.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile \
        --editable "$root${extras:+[$extras]}"
    touch "$stamp"
fi
