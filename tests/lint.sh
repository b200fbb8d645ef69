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
