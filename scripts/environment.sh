# Sourced by the scripts beside it, with $here set to their folder. Sets $root and defines `ready`.
root=$(cd -- "$here/.." && pwd -P)

# ready runtime|dev: .venv holds what requirements/$1.txt pins. When it does already, that costs two forks.
ready() {
  stamp=$(cksum "$root/requirements/$1.txt" "$root/pyproject.toml")  # names the files, so a moved checkout is stale
  if [ -x "$root/.venv/bin/python" ] && [ -r "$root/.venv/.ready-$1" ]; then
    [ "$(cat "$root/.venv/.ready-$1")" != "$stamp" ] || return 0
  fi
  python=$(usable_python) || exit 1
  "$python" "$root/scripts/environment.py" "$1" "$stamp" || exit 1
}

usable_python() {
  for candidate in ${PYTHON:-} python3.11 python3.12 python3 python3.13 python3.14; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return 0
    fi
  done
  if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    echo "flywheel: $(python3 --version) has no venv module. Debian and Ubuntu: apt install python3-venv" >&2
  else
    echo "flywheel: needs Python 3.11 or later, found $(python3 --version 2>&1 || echo none)." >&2
    echo "  Install python3.11 or python3.12 (with venv), or name one: PYTHON=/path/to/python3.12 $0" >&2
  fi
  return 1
}
