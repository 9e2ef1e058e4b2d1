"""Every family of backbones as a file that runs without the package: programs of torch.export, and ONNX graphs."""

import pytest
import torch
from tiny import TASKS, TINY, whole

from mtlora_lite.export import deviation, merged
from mtlora_lite.graphs import write_onnx, write_program

WRITERS = {"model.pt2": write_program, "model.onnx": write_onnx}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", TINY)
@torch.no_grad()
def test_a_file_predicts_what_the_model_predicts(kind, name, tmp_path):
    model, path = whole(kind), tmp_path / name
    WRITERS[name](merged(model), path)
    deviation(model, path, TASKS)  # raises where they differ
