#!/usr/bin/env bash
# Preparation on a Slurm cluster: an array of tasks, and a job that writes the shards when all of them have succeeded.
#   usage: bash slurm/prepare.sh TASKS --config configs/data_prep/seamless.yaml source.root=RELEASE out=SHARDS workers=16
# Options of sbatch (partition, account, time, cpus-per-task ...) come from SBATCH_OPTIONS, or edit slurm/prepare.sbatch.
# The same command again does nothing twice: tasks that failed, were killed or ran out of time go on where they stopped.
set -euo pipefail
case "${1:-}" in
  "" | *[!0-9]*) sed -n '3,5s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
tasks=$1
shift
script=$(dirname "$0")/prepare.sbatch
# shellcheck disable=SC2086  # several options in one variable
array=$(sbatch --parsable ${SBATCH_OPTIONS:-} --array="0-$((tasks - 1))" "$script" "$@" "array.count=$tasks")
# shellcheck disable=SC2086
sbatch ${SBATCH_OPTIONS:-} --dependency="afterok:${array%%;*}" "$script" "$@"
