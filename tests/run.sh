#!/usr/bin/env bash
# Set up and run the tests.
#   bash tests/run.sh [pytest args]   fast tier, at most 3 minutes
#   bash tests/run.sh --ci            fast and CI tier
#   bash tests/run.sh --slow          everything that this machine can run
# Lint, format and types are among the tests (tests/test_quality.py).
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/environment.sh

tier="not slow and not ci and not gpu"
case "${1:-}" in
  --ci)
    tier="not slow and not gpu"
    shift
    ;;
  --slow)
    tier="not gpu"
    shift
    ;;
esac
OMP_NUM_THREADS=1 exec python -m pytest -m "$tier" "$@"
