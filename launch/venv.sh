# Sourced by the other scripts: makes .venv beside launch/ if there is none and installs colorjax
# into it. Extras beyond the script's own come from COLORJAX_EXTRAS, such as cuda or cuda13.
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
    # A half-made environment would pass for a whole one the next time.
    "$base" -m venv "$root/.venv" || { rm -rf "$root/.venv"; exit 2; }
fi

# Installed once for each set of extras, and again when the requirements change.
stamp="$root/.venv/installed-${extras:-plain}"
if [ ! -e "$stamp" ] || [ "$root/setup.cfg" -nt "$stamp" ]; then
    echo "Installing colorjax${extras:+[$extras]} and what it needs into $root/.venv:" \
        "once, one to three minutes, 1 GB" >&2
    # Modules are compiled when they are first imported, as most never are.
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-compile \
        --editable "$root${extras:+[$extras]}"
    touch "$stamp"
fi
