#!/usr/bin/env bash
# A suite on conversations that are rendered for it: people whom nobody was trained on, as many and as long as the
# question needs. Restartable; recordings and shards are kept and shared by all that ask for the same.
#
#   bash experiments/held_out.sh ROOT RENDERING... -- SETTING...
#
#   ROOT       folder of a finished graph (experiments/quickstart.sh), or a new one for evaluations without a graph
#   RENDERING  of avatar-lab render: --held-out NUMBER --seconds LENGTH, perhaps --world calibrated --scenario ...;
#              people differ by --seed, which is the graph's
#   SETTING    of avatar-lab evaluate: suite=..., seconds=... (eight less than LENGTH at least: a window begins behind
#              the anchor)
#
# Does distillation keep what the model of many steps does?
#   bash experiments/held_out.sh outputs/quickstart_long --held-out 200 --seconds 44 -- suite=strength seconds=34 compare.equal_steps.num_steps=2
set -euo pipefail
cd "$(dirname "$0")/.."
root=${1:-} rendering=() settings=()
if [[ $# -lt 3 || "$root" == -* || "$2" == -- || " $* " != *" -- "* ]]; then
  sed -n '2,15s/^# \{0,1\}//p' "$0" >&2 && exit 2
fi
shift
while [ "$1" != -- ]; do rendering+=("$1") && shift; done
settings=("${@:2}")
source experiments/environment.sh

seed=$(sed -n 's/^seed: //p' "$root/see/config.yaml" 2> /dev/null || echo 0)
here=$root/held_out/seed_${seed}_$(printf '%s_' "${rendering[@]#--}" | sed 's/_$//')
if [ ! -e "$here/prepared" ]; then
  avatar-lab render --out "$here/recordings" --dialogues 0 --seed "$seed" "${rendering[@]}"
  avatar-lab prepare --config configs/data_prep/world.yaml "source.root=$here/recordings" "out=$here/shards" \
    splits.train=0.0 splits.val=0.0 splits.test=1.0
  touch "$here/prepared"
fi
avatar-lab evaluate "root=$root" "seed=$seed" "shards=$here/shards" "recordings=$here/recordings" "${settings[@]}"
