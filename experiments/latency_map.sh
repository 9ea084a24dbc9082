#!/usr/bin/env bash
# What latency costs: blocks of 160, 320 and 640 ms x 2, 3 and 4 steps, each a student of its own from one finished graph.
# Needs a finished quickstart. About 90 minutes on two CPU cores; restartable: what is finished is not done again,
# so remove ROOT/latency_map after the graph was trained anew.
#
#   bash experiments/latency_map.sh [ROOT]     # default outputs/quickstart
#
# A student of one step is left out: tokens are read from its last step, which must not be all noise (design, section 4).
# The delayed oracle is not asked: it is simulated again, which the clock of the recordings alone allows.
# Per point: ROOT/latency_map/<ms>/<steps>/stream.log (time of a block, codecs included); per length of blocks: a report.
set -euo pipefail
cd "$(dirname "$0")/.."
source experiments/environment.sh
root=${1:-outputs/quickstart}
held_out=("$root"/recordings/h*_speaker1.mp4) # numbered by the seed of the graph

finished() { [ -e "$1/done.json" ]; }

for blocks in "160 4/25 40" "320 8/25 20" "640 16/25 10"; do
  read -r ms seconds history <<< "$blocks"
  out=$root/latency_map/$ms compare=()
  layout=("layout.block_seconds=$seconds" "layout.history_blocks=$history")
  window=("${layout[@]}" "data.num_blocks=$history" "root=$root")
  finished "$out/autoregressive" || avatar-lab train experiment=quickstart/autoregressive "${window[@]}" "out=$out/autoregressive" \
    "stage.init=$root/autoregressive/autoregressive.safetensors" stage.other_blocks=true training.steps=150
  for steps in "2 [1.0,0.2]" "3 [1.0,0.6,0.2]" "4 [1.0,0.7,0.4,0.2]"; do
    read -r number list <<< "$steps"
    here=$out/$number teacher=$out/autoregressive/autoregressive.safetensors
    finished "$here/initialise" || avatar-lab train experiment=quickstart/initialise "${window[@]}" "out=$here/initialise" \
      "stage.init=$teacher" "stage.steps=$list"
    finished "$here/self_forcing" || avatar-lab train experiment=quickstart/self_forcing "${window[@]}" "out=$here/self_forcing" \
      "stage.init=$here/initialise/initialise.safetensors" "stage.teacher=$teacher"
    avatar-lab stream "checkpoint=$here/self_forcing/level2.safetensors" "recording=${held_out[0]%_speaker1.mp4}" seconds=20 \
      "out=$here/stream.mp4" | tee "$here/stream.log"
    compare+=("+compare.steps_$number=$here/self_forcing/level2.safetensors")
  done
  avatar-lab evaluate "root=$root" "${layout[@]}" "out=$out/evaluation" "report=$out/report" runs=null num_dyads=16 latency_seconds=0 \
    "agents=[oracle]" "${compare[@]}"
done
