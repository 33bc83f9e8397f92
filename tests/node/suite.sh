#!/usr/bin/env bash
# Runs test programs on the node, one after the other; leaves reports, and "program status" in results.
# Usage: suite.sh PROGRAM… (tests/run.sh node calls it through run.sh)
set -u
[ -n "${NODE_EXCHANGE:-}" ] || { echo "suite.sh: only on the node (tests/node/run.sh)" >&2; exit 2; }
failed=0
for program in "$@"; do
  name=${program##*/}
  echo "== $name"
  # A crash or a hang of one leaves the others their turn.
  GTEST_OUTPUT=xml:$NODE_EXCHANGE/$name.xml timeout -k 10 300 "$program" </dev/null
  status=$?
  [ $status = 0 ] || failed=1
  echo "$name $status" >>"$NODE_EXCHANGE/results"
done
exit $failed
