"""The training loop that notebook 07 writes by hand is the engine's, loss by loss and weight by weight."""

import pytest
import torch
from accelerate.utils import set_seed
from test_notebooks import building_cell
from torch import nn

import mtlora_lite as ml
from mtlora_lite.batches import Draws, training_loader
from mtlora_lite.config import build_from_config, training_set
from mtlora_lite.recipe import CLIP_NORM, build_optimizer, lr_factor

RUN = {
    "tasks": ("semseg", "depth", "edge"), "img_size": 64, "train_count": 12, "val_count": 2, "steps": 5,
    "batch_size": 4, "pretrained": False, "lr": 3e-3, "drop_path": 0.3, "seed": 3, "trackers": (),
    "decoder_options": {"expansion": 1},
    "options": {"rank": (3, 2, 1, 2), "task_rank": {"semseg": 2, "depth": 1, "edge": 3}, "scale": 1.7, "dropout": 0.1},
}  # fmt: skip


@pytest.mark.usefixtures("cache")
def test_it_learns_what_the_engine_learns_to_the_last_bit(tmp_path):
    scope = {
        "ml": ml, "nn": nn, "DEVICE": "cpu", "set_seed": set_seed, "build_from_config": build_from_config,
        "build_optimizer": build_optimizer, "training_set": training_set, "Draws": Draws, "lr_factor": lr_factor,
        "training_loader": training_loader, "CLIP_NORM": CLIP_NORM,
    }  # fmt: skip
    exec(building_cell("07", "builds-loop"), scope)
    config = ml.TrainConfig(**RUN, out=tmp_path)
    result = ml.train(config)
    model, log = scope["train_by_hand"](config)
    assert log == [{task: record[task] for task in config.tasks} for record in result.log]
    theirs = result.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.state_dict().items())
