#!/usr/bin/env bash
# The comparisons in this folder, made again or gone on with: what is there already, in runs/study/, is not done again.
#
#     data/results/run.sh [NAME ...]        all of them, or those named; hours on two cores
#
# A run is 300 steps of 8 scenes at 128 pixels, about a minute and a half of one core; two go at a time.
set -euo pipefail
cd "$(dirname "$0")/../.."

setting=(--train-count 800 --batch-size 8 --steps 300 --decoder-options 'channels=[16,32,64,64]' expansion=1)
four=(--tasks semseg human_parts sal normals)

study() {  # NAME OPTION ...: compare, and keep here what is to be read
    local name=$1
    shift
    if [[ -n $wanted && " $wanted " != *" $name "* ]]; then return; fi
    mtlora compare --out "runs/study/$name" "${setting[@]}" "$@"
    mkdir -p "data/results/$name"
    cp "runs/study/$name"/{report.md,table.json,table.csv,better.csv,pareto.png,published.png} "data/results/$name/"
}
wanted="$*"

# Every method, the low-rank ones at three ranks.
study methods "${four[@]}" --options dropout=0 --methods \
    decoders_only bitfit ssf vpt vpt@deep=true adapter \
    lora@rank=4 lora@rank=16 lora@rank=64 dora@rank=16 lora_per_task@rank=4 lora_per_task@rank=16 \
    mtl_lora@rank=4 mtl_lora@rank=16 mtlora@rank=4 mtlora@rank=16 mtlora@rank=64 mtlora_plus@rank=16 full single_task

# How shared and private updates meet.
study combine "${four[@]}" --options dropout=0 rank=16 --baseline decoders_only --methods \
    decoders_only mtlora mtlora@combine=matrixv2 mtlora@combine=addition mtlora@combine=lora_only

# How much of each: private ranks, only shared (task_rank=0), only private (rank=0).
study private "${four[@]}" --options dropout=0 --baseline decoders_only --methods \
    decoders_only mtlora@rank=16@task_rank=4 mtlora@rank=16@task_rank=0 mtlora@rank=16@task_rank=2 \
    mtlora@rank=16@task_rank=16 mtlora@rank=0@task_rank=4 mtlora@rank=0@task_rank=16

# What else must be trained.
study groups "${four[@]}" --options dropout=0 rank=16 --baseline decoders_only --methods \
    decoders_only mtlora 'mtlora@train=[]' 'mtlora@train=["norms"]' 'mtlora@train=["rel_pos"]' \
    'mtlora@train=["patch_embed"]' 'mtlora@train=["merging"]' 'mtlora@train=["patch_embed","norms","rel_pos"]'

# One task, two, ... six.
tasks=(semseg normals sal human_parts edge depth)
for count in 1 2 3 4 5 6; do
    study "tasks_$count" --tasks "${tasks[@]:0:$count}" --options dropout=0 rank=16 --methods mtlora full single_task
done

# Two backbones, four decoders.
rows=()
for backbone in swin_scenes_tiny pvt_v2_scenes_tiny; do
    for decoder in hrnet segformer aspp deconv; do
        for method in decoders_only mtlora; do rows+=("$method@backbone=$backbone@decoder=$decoder"); done
    done
done
setting=(--train-count 800 --batch-size 8 --steps 300)  # each decoder as it comes
study backbones "${four[@]}" --options dropout=0 rank=16 --baseline "${rows[0]}" --methods "${rows[@]}"
