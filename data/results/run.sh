#!/usr/bin/env bash
# The comparisons in this folder, made again or gone on with: what is there already, in runs/, is not done again,
# nor what two comparisons have in common (a row's name says all that is its own, so that it is found again).
#
#     data/results/run.sh [NAME ...]        all of them, or those named; hours on two cores
#
# A run is 300 steps of 8 scenes at 128 pixels, about a minute and a half of one core; two go at a time, or JOBS (on a
# GPU with 16 cores JOBS=15: the eighty runs of backbones took seven minutes there). Decoders learn ten times as much as
# the backbone, as in DeepLab (arXiv 1606.00915, sec. 4.1): so short a run is decided by who is starved where one rate
# has to do for both.
set -euo pipefail
cd "$(dirname "$0")/../.."

terms=(
    --train-count 800 --batch-size 8 --steps 300 --options dropout=0 --decoder-lr-factor 10 --lrs 1.5e-4 5e-4 1.5e-3
)
small=(--decoder-options 'channels=[16,32,64,64]' expansion=1)
four=(--tasks semseg human_parts sal normals)

runs=runs/study
study() {  # NAME OPTION ...: compare, and keep here what is to be read; NAME stands for each NAME/PART
    local name=$1
    shift
    if [[ -n $wanted && " $wanted " != *" $name "* && " $wanted " != *" ${name%%/*} "* ]]; then return; fi
    mtlora compare --out "$runs" --jobs "${JOBS:-2}" "${terms[@]}" "$@"
    mkdir -p "data/results/$name"
    cp "$runs"/{report.md,table.json,table.csv,better.csv,{gains,pareto,published}.png} "data/results/$name/"
}
wanted="$*"

# What one would try first.
study few "${four[@]}" "${small[@]}" --methods decoders_only mtlora@rank=16 full single_task

# Every method, the low-rank ones at three ranks. A rate is chosen once per method, for its first row; for it to fit the
# other ranks too, scale goes by 1 / sqrt(rank), as an update of a higher rank grows faster (arXiv 2312.03732). MTLoRA's
# private updates have rank 4 and scale 4 in all rows.
ranks() { printf "$1@rank=%s " 16 "4@scale=8${2-}" "64@scale=2${2-}"; }
study methods "${four[@]}" "${small[@]}" --methods decoders_only bitfit ssf vpt vpt@deep=true adapter $(ranks lora) \
    $(ranks dora) $(ranks lora_per_task) $(ranks mtl_lora) $(ranks mtlora @task_scale=4) \
    $(ranks mtlora_plus @task_scale=4) full single_task

# How shared and private updates meet.
study combine "${four[@]}" "${small[@]}" --baseline decoders_only --methods \
    decoders_only mtlora@rank=16 mtlora@rank=16@combine={matrixv2,addition,lora_only}

# How much of it is private.
study task_rank "${four[@]}" "${small[@]}" --baseline decoders_only --methods \
    decoders_only mtlora@rank=16 mtlora@rank=16@task_rank={0,2@task_scale=5.66,16@task_scale=2}

# Only shared (task_rank=0), only private (rank=0), both, or neither: what is trained beside them.
study shared_private "${four[@]}" "${small[@]}" --baseline decoders_only --methods \
    decoders_only mtlora@rank=16 mtlora@rank=16@task_rank=0 mtlora@rank=0@task_rank={0,4,16@task_scale=2}

# Whether a task that is hard to hear beside the others does better when it is louder (see why/README.md).
study loss_weights "${four[@]}" "${small[@]}" --baseline decoders_only --methods \
    decoders_only mtlora@rank=16 'mtlora@rank=16@loss_weights={"semseg":4}'

# What else must be trained.
study groups "${four[@]}" "${small[@]}" --baseline decoders_only --methods decoders_only mtlora@rank=16 \
    'mtlora@rank=16@train='{'[]','["norms"]','["rel_pos"]','["patch_embed"]','["merging"]','["patch_embed","norms","rel_pos"]'}

# One task, two, ... six.
tasks=(semseg human_parts sal normals edge depth)
for count in 1 2 3 4 5 6; do
    study "tasks/$count" --tasks "${tasks[@]:0:$count}" "${small[@]}" --methods mtlora@rank=16 single_task
done

# Two backbones, four decoders, each as it comes; ASPP has 24.6 million weights, of which a step takes two seconds or so.
on() {  # DECODER ...: the rows with these decoders
    for decoder in "$@"; do
        for backbone in swin_scenes_tiny pvt_v2_scenes_tiny; do
            printf "%s@backbone=$backbone@decoder=$decoder " decoders_only mtlora@rank=16
        done
    done
}
study backbones "${four[@]}" --baseline decoders_only@backbone=swin_scenes_tiny@decoder=hrnet --methods \
    $(on hrnet segformer aspp deconv)

# Seven times as many steps, on five times as many scenes: which differences are left when all have learnt more.
runs=runs/study-longer
study longer "${four[@]}" "${small[@]}" --train-count 4000 --steps 2000 --seeds 2 --methods \
    decoders_only {lora,lora_per_task,mtlora}@rank=16 full single_task
