#!/usr/bin/env bash
# Set up and run the tests.
#   bash tests/run.sh [pytest args]   fast tier, at most 3 minutes
#   bash tests/run.sh --ci            fast and CI tier
#   bash tests/run.sh --slow          everything that this machine can run without a GPU
#   bash tests/run.sh --gpu           what needs a GPU
# Lint, format and types are among the tests (tests/test_quality.py). Files are shared out over as many processes as there
# are cores, eight at most; -n 0 runs them in one, as a debugger wants it.
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
  --gpu)
    tier="gpu"
    shift
    ;;
esac
OMP_NUM_THREADS=1 exec python -m pytest -n auto --maxprocesses 8 --dist loadfile -m "$tier" "$@"
