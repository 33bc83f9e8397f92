#!/usr/bin/env bash
# The checks of the house rules, and first the test that each of them can fail.
# Usage: tests/lint/run.sh [--outcomes FILE] [CHECK…]   (see lint.py; LINT_ALL=1 shows clang-tidy all files)
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Debian's own Python has Debian's yaml.
python=$(command -v /usr/bin/python3 || command -v python3) || { echo "lint: no python3" >&2; exit 2; }
if ! errors=$("$python" -B "$here/self_test.py" 2>&1); then
  echo "$errors"
  echo "lint: the checks themselves are broken (tests/lint/self_test.py)" >&2
  exit 2
fi
"$python" -B "$here/lint.py" "$@"
