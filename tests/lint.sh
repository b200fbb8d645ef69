#!/usr/bin/env bash
# One command for all formatters and linters.  --fix: mend what can be mended.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t c_files < <(git ls-files '*.c' '*.h')
if [ "${1:-}" = --fix ]; then
    clang-format -i "${c_files[@]}"
    ruff format .
    exec ruff check --fix .
fi
clang-format --dry-run --Werror "${c_files[@]}"
ruff format --check .
ruff check .
# What a compiler left behind is no source.
if git ls-files -z | xargs -0 grep -l $'^\x7fELF' | grep .; then
    echo "lint.sh: the files above are binaries" >&2
    exit 1
fi
