#!/usr/bin/env bash
# The main job on the embedded world: recordings -> shards -> teacher -> autoregressive -> few-step student -> one that
# prefers to react -> camera branch -> levels 1, 2, 3 -> report. At most 40 minutes on two CPU cores after installation.
#
#   bash experiments/quickstart.sh [--out DIR] [--seed N] [--long | --smoke] [--set STAGE:KEY=VALUE]...
#
#   --out DIR   default outputs/quickstart (outputs/quickstart_long, outputs/smoke)
#   --seed N    default 0
#   --long      twice the recordings, 1.5 to 2 times the steps of the models of many steps, which all others learn from,
#               and students of two steps; the shipped checkpoints are made so. About 90 minutes
#   --smoke     every step at its smallest, at most 3 minutes; its numbers mean nothing
#   --set STAGE:KEY=VALUE  trains one stage otherwise: --set self_forcing:training.steps=180; may be repeated
#
# Restartable: a step with a stamp of the same inputs is not done again; an interrupted one goes on where it stopped.
set -euo pipefail
shopt -s extglob
cd "$(dirname "$0")/.."

out="" seed=0 size=quickstart chosen=()
stages=(teacher autoregressive initialise self_forcing preference see_teacher see)
choose() {
  case "$size" in
    quickstart | "$1") ;;
    *) echo "quickstart: --long and --smoke exclude each other" >&2 && exit 2 ;;
  esac
  size=$1
}
choose_setting() {
  if [[ "$1" != +([a-z_]):+([^ =])=+([^ ]) || " ${stages[*]} " != *" ${1%%:*} "* ]]; then
    echo "quickstart: --set $1: write STAGE:KEY=VALUE, without blanks, with a STAGE of ${stages[*]}" >&2 && exit 2
  fi
  chosen+=("$1")
}
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=$2 && shift 2 ;;
    --seed) seed=$2 && shift 2 ;;
    --long) choose quickstart_long && shift ;;
    --smoke) choose smoke && shift ;;
    --set) choose_setting "$2" && shift 2 ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "quickstart: unknown argument $1 (see --help)" >&2 && exit 2 ;;
  esac
done
out=${out:-outputs/$size}

source experiments/environment.sh
mkdir -p "$out/stamps"

dialogues=112 held_out=32 seconds=64 # held out: other people, who fill split test
evaluation=()
declare -A settings=() # overrides of a stage, split at blanks, where it is not as its config says
case "$size" in
  smoke)
    dialogues=6 held_out=2 seconds=16
    evaluation=(num_dyads=2 seconds=12 films=1 film_seconds=4 latency_seconds=4)
    ;;
  quickstart_long)
    dialogues=224
    settings=(
      [teacher]="training.steps=800 model.video_head=AnchoredHead"
      [autoregressive]=training.steps=1500
      [initialise]="stage.steps=[1.0,0.2]"
      [self_forcing]=stage.video_tilt=0.5
      [preference]=training.steps=16
      [see_teacher]=training.steps=600
      [see]="stage.all_steps=true stage.guidance_see=1.5"
    )
    ;;
esac
for setting in "${chosen[@]}"; do
  settings[${setting%%:*}]+=" ${setting#*:}" # behind those of the size: the last one counts
done

# One number over everything that the steps read besides each other's results.
code=$(cat pyproject.toml experiments/quickstart.sh $(find avatar_lab data_prep configs -name '*.py' -o -name '*.yaml' -o -name '*.safetensors' | sort) | sha256sum | cut -c1-16)
previous="$code $seed"

# step NAME RESULT COMMAND...: run COMMAND unless its stamp says that it was done with these inputs; RESULT is the folder
# that it owns, removed before a run with other inputs and kept for one that was interrupted.
step() {
  local name=$1 result=$2 begin end
  shift 2
  local key
  key=$(printf '%s\n' "$previous" "$name" "$@" | sha256sum | cut -c1-16)
  previous=$key
  if [ "$(cat "$out/stamps/$name.done" 2> /dev/null)" = "$key" ]; then
    echo "== $name: done before"
    return
  fi
  if [ "$(cat "$out/stamps/$name.started" 2> /dev/null)" != "$key" ]; then rm -rf "${out:?}/$result"; fi
  rm -f "$out/stamps/$name.done"
  echo "$key" > "$out/stamps/$name.started"
  echo "== $name: $*"
  begin=$(date +%s.%N)
  "$@"
  end=$(date +%s.%N)
  echo "$key" > "$out/stamps/$name.done"
  python - "$out/seconds.json" "$name" "$begin" "$end" << 'PYTHON'
import json, pathlib, sys
path, name, begin, end = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
seconds = json.loads(path.read_text()) if path.exists() else {}
seconds[name] = round(end - begin, 1)
path.write_text(json.dumps(seconds, indent=1))
PYTHON
  echo "== $name: finished in $(python -c "print(round($end - $begin))") s"
}

train() {
  local given
  read -ra given <<< "${settings[$1]:-}"
  step "$1" "$1" avatar-lab train "experiment=${size%_long}/$1" "root=$out" "seed=$seed" "${given[@]}"
}

step render recordings avatar-lab render --out "$out/recordings" --dialogues "$dialogues" --held-out "$held_out" --seconds "$seconds" --seed "$seed"
step prepare shards avatar-lab prepare --config configs/data_prep/world.yaml \
  "source.root=$out/recordings" "out=$out/shards" splits.train=1.0 splits.val=0.0 splits.test=0.0
for stage in "${stages[@]}"; do train "$stage"; done
step export checkpoints avatar-lab export "$out/teacher" "$out/preference" "$out/see" --to "$out/checkpoints"
step evaluate evaluation avatar-lab evaluate "root=$out" "seed=$seed" "step_seconds=$out/seconds.json" "${evaluation[@]}"

minutes=$(python -c "import json; print(round(sum(json.load(open('$out/seconds.json')).values()) / 60, 1))")
echo "== report: $out/report/index.html ($minutes minutes in all)"
