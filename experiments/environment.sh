#!/usr/bin/env bash
# Sourced, from the repository root: a virtual environment that fits pyproject.toml, made once and then found again.
#
#   AVATAR_LAB_VENV    where it lies (default .venv)
#   AVATAR_LAB_THREADS threads per process (default: the cores of this machine)
set -euo pipefail

AVATAR_LAB_VENV=${AVATAR_LAB_VENV:-.venv}
avatar_lab_stamp="$(sha256sum pyproject.toml | cut -c1-64) $(python3 --version)"

if [ "$(cat "$AVATAR_LAB_VENV/avatar_lab.stamp" 2>/dev/null)" != "$avatar_lab_stamp" ]; then
  echo "environment: installing into $AVATAR_LAB_VENV (a few minutes, once)"
  python3 -m venv "$AVATAR_LAB_VENV"
  "$AVATAR_LAB_VENV/bin/python" -m pip install -qq --upgrade pip setuptools wheel
  "$AVATAR_LAB_VENV/bin/python" -m pip install -qq --editable '.[dev]'
  echo "$avatar_lab_stamp" > "$AVATAR_LAB_VENV/avatar_lab.stamp"
fi

PATH="$(cd "$AVATAR_LAB_VENV" && pwd)/bin:$PATH"
OMP_NUM_THREADS=${AVATAR_LAB_THREADS:-$(nproc)}
export PATH OMP_NUM_THREADS AVATAR_LAB_VENV
export PYTHONHASHSEED=0 PYTHONUNBUFFERED=1
export KMP_BLOCKTIME=0 # idle threads sleep instead of spinning: two processes share two cores
export WANDB_MODE=${WANDB_MODE:-offline}
