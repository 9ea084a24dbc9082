#!/usr/bin/env bash
# One question about distillation: a stage trained otherwise, the stages behind it as in the quickstart, and level 2 (of
# the camera branch level 3) of both compared on the same conversations with the same noise. Needs a finished quickstart;
# restartable.
#
#   bash experiments/ablation.sh NAME [ROOT] [SETTING...]
#
#   NAME     of configs/experiment/ablation
#   ROOT     default outputs/quickstart; results lie in ROOT/ablation/NAME, the comparison in its report
#   SETTING  of the evaluation, for instance num_dyads=200
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/environment.sh
if [ $# -eq 0 ] || [ ! -e "configs/experiment/ablation/$1.yaml" ]; then
  echo "usage: ablation.sh NAME [ROOT] [SETTING...], NAME one of: $(cd configs/experiment/ablation && ls | sed 's/.yaml//' | tr '\n' ' ')" >&2
  exit 2
fi
name=$1 root=outputs/quickstart
shift
case "${1:-}" in
  *=* | "") ;;
  *) root=$1 && shift ;;
esac
here=$root/ablation/$name teacher=$root/autoregressive/autoregressive.safetensors
seed=$(sed -n 's/^seed: //p' "$root/self_forcing/config.yaml")

train() { # EXPERIMENT OUT SETTING...
  if [ -e "$2/done.json" ] && [ "$root/see/done.json" -nt "$2/done.json" ]; then
    echo "ablation.sh: the graph at $root was trained after $2: remove $here first" >&2
    exit 2
  fi
  [ -e "$2/done.json" ] || avatar-lab train "experiment=$1" "root=$root" "out=$2" "seed=$seed" "${@:3}"
}

as_in_graph() { # STAGE KEY...: those that a stage of the graph was trained with, as settings
  python - "$root/$1/config.yaml" "${@:2}" << 'PYTHON'
import functools, json, sys, yaml
config = yaml.safe_load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = functools.reduce(lambda found, name: found.get(name, {}), key.split("."), config)
    if value != {}:  # an older graph may not know it
        print(f"{key}={json.dumps(value, separators=(',', ':'))}")
PYTHON
}
for stage in autoregressive initialise self_forcing preference; do
  [ -e "$root/$stage/config.yaml" ] || { echo "ablation.sh: $root holds no finished graph: $stage is missing" >&2 && exit 2; }
done
mapfile -t trained < <(as_in_graph autoregressive training.steps)
mapfile -t started < <(as_in_graph initialise stage.steps stage.renoise)
mapfile -t forced < <(as_in_graph self_forcing stage.all_steps stage.video_tilt training.steps)
mapfile -t preferred < <(as_in_graph preference training.steps)

# Settings of the first stage, of those behind it; and what else is compared.
first=() behind=() against=()
case "$name" in
  hindsight) first=("${forced[@]}") ;;
  all_steps) mapfile -t first < <(as_in_graph self_forcing stage.video_tilt training.steps) ;;
  fresh_noise | kept_noise | trajectory | pairs) mapfile -t first < <(as_in_graph initialise stage.steps) ;;
  soft_history) first=("${started[@]}") ;;
  reactive_windows) first=("${trained[@]}") ;;
esac
if [ "$name" = audio_student ]; then
  behind=(stage.video_weight=0.0) against=("+compare.many_steps={checkpoint: $teacher, num_steps: 32}")
fi
if [ "$name" = pairs ]; then avatar-lab pairs experiment=ablation/trajectory "root=$root" "seed=$seed" "${started[@]}" --windows 112; fi
train "ablation/$name" "$here" "${first[@]}"

# What it made says where it stands: before the start of the student, at it, or behind it.
student=$here
if [ -e "$here/autoregressive.safetensors" ]; then
  teacher=$here/autoregressive.safetensors
  train quickstart/initialise "$here/initialise" "stage.init=$teacher" "${started[@]}"
fi
for start in "$here/initialise/initialise.safetensors" "$here/initialise.safetensors"; do
  if [ -e "$start" ]; then
    student=$here/self_forcing
    train quickstart/self_forcing "$student" "stage.init=$start" "stage.teacher=$teacher" "${forced[@]}" "${behind[@]}"
  fi
done
level=level3
if [ ! -e "$student/level3.safetensors" ]; then
  train quickstart/preference "$here/preference" "stage.init=$student/level2.safetensors" "${preferred[@]}" "${behind[@]}"
  student=$here/preference level=level2
fi
# Conversations of the quickstart's own evaluation: what that measured is not measured again.
avatar-lab evaluate "root=$root" "seed=$seed" "report=$here/report" runs=null latency_seconds=0 \
  "agents=[$level,delayed_oracle,yoked]" "+compare.$name=$student/$level.safetensors" "${against[@]}" "$@"
