"""Wrong command lines: each ends with status 2 and says in few words what is wrong and what there is; no traceback."""

import shlex

import pytest

from mtlora_lite.cli import main

WRONG = {
    "": "demo, train, eval, predict, compare, params, data, export",
    "trian": "Available subcommands: demo, train",
    "train --stepz 3": "--steps INT",
    "train --steps": "--steps",
    "train --steps abc": "Error parsing --steps",
    "train --steps 2.5": "Error parsing --steps",
    "train --steps 0": "steps is at least 1, not 0.",
    "train --steps -5": "steps is at least 1, not -5.",
    "train --epochs 0": "epochs is at least 1, not 0.",
    "train --batch-size 0": "batch_size is at least 1, not 0.",
    "train --workers -1": "workers is at least 0, not -1.",
    "train --train-count 0": "train_count is at least 1, not 0.",
    "train --val-count -3": "val_count is at least 1, not -3.",
    "train --eval-every 0": "eval_every is at least 1, not 0.",
    "train --img-size 100": "not a multiple of 32 on each side: use (128, 128).",
    "train --img-size 0": "not a multiple of 32 on each side: use (32, 32).",
    "train --lr fast": "Error parsing --lr",
    "train --lr 0": "lr is a number above 0, not 0.0.",
    "train --lr nan": "lr is a number above 0, not nan.",
    "train --drop-path 1": "drop_path is a probability, from 0 to below 1, not 1.0.",
    "train --tasks": "No task given. Tasks: semseg",
    "train --tasks depht": "Unknown task 'depht'. Did you mean 'depth'?",
    "train --tasks depth depth": "Each task can be given once; repeated: depth.",
    "train --method lroa": "Unknown method 'lroa'.",
    "train --options rank": "An option is written KEY=VALUE, got 'rank'.",
    "train --options rnak=3": "Method 'mtlora' has no option 'rnak'. Did you mean 'rank'?",
    "train --options combine=matrx": "Unknown combine mode 'matrx'. Modes: matrix",
    "train --method full --options rank=3": "Method 'full' has no option 'rank'. Its options: none.",
    "train --decoder hrnt": "Unknown decoder 'hrnt'. Did you mean 'hrnet'?",
    "train --decoder-options width=3": "Decoder 'hrnet' has no option 'width'.",
    "train --augment flip spin": "Unknown augmentation 'spin'.",
    "train --protocol papre": "Unknown protocol 'papre'. Did you mean 'paper'?",
    "train --on-error ignore": "Unknown on_error 'ignore'.",
    "train --loss-weights sal=-1": "The loss weight of sal is a number from 0 on, not -1.",
    "train --tasks depth --loss-weights sal=2": "loss_weights names 'sal', but the tasks are depth.",
    "train --backbone resnet50": "'resnet50'",
    "train --backbone swin_tiny_patch4_windw7_224": "swin_tiny_patch4_window7_224",
    "train --data nowhere": "nowhere",
    "train --preset papr": "Unknown preset 'papr'. Presets: paper, nyud, demo.",
    "train --config nowhere.json": "Cannot read nowhere.json",
    "train --preset demo --config mine.json": "Give --preset or --config, not both",
    "train --boundary maybe": "Unrecognized options: maybe",
    "demo --steps none": "Error parsing --steps",
    "eval": "FOLDER folder written by training",
    "eval nowhere": "nowhere holds no saved model",
    "predict": "No photo given.",
    "predict nothing.jpg --checkpoint nowhere": "nowhere holds no saved model",
    "params --backbone swin_base_patch4_window7_224": "are counted as they are: add --method, or --all",
    "params --options rank=3": "are counted as they are: add --method, or --all",
    "params --method lroa": "Unknown method 'lroa'.",
    "params --method mtlora --options rank=-1": "The rank of a low-rank update is a whole number from 0 on, not -1.",
    "compare --methods mtlora --baseline full": "The baseline 'full' is not among the rows mtlora.",
    "compare --methods lroa": "Unknown method 'lroa'.",
    "export": "Say what to write. Forms: --to merged, onnx",
    "export --to onxn": "onxn",
    "train --precision fp8": "Unknown precision 'fp8'. There are: fp32, bf16, fp16.",
    "train --accumulate 0": "accumulate is at least 1, not 0.",
    "train --save-every 0": "save_every is at least 1, not 0.",
    "train --ema 1": "ema is the decay of a moving average, from 0 to below 1, not 1.0.",
    "train --weighting dwo": "Unknown weighting 'dwo'. Did you mean 'dwa'?",
    "train --balance upgrd": "Unknown balancer 'upgrd'. Did you mean 'upgrad'?",
    "train --balance upgrad --compile": "balance takes a gradient per task",
    "export --from-official nowhere.pth": "nowhere.pth",
    "data dowload x": "Available subcommands",
    "data verify nowhere": "nowhere",
}


@pytest.mark.parametrize(("line", "said"), WRONG.items())
def test_a_wrong_command_line_is_refused_in_words(line, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(shlex.split(line))
    except SystemExit as stop:  # tyro's, of what it cannot read
        status = stop.code
    output = capsys.readouterr()
    assert status == 2
    assert said in " ".join(output.err.replace("│", " ").split())
    assert "Traceback" not in output.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # nothing was begun
    if output.err.startswith("error: "):
        assert len(output.err.splitlines()) == 1
