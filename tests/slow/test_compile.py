"""What torch.compile makes of the model trains as the model does."""

import shutil

import pytest

import mtlora_lite as ml


@pytest.mark.usefixtures("cache")
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_code_computes_the_same_losses(tmp_path):
    settings = {
        "tasks": ("semseg", "depth"), "img_size": 64, "train_count": 8, "val_count": 2, "steps": 3, "batch_size": 2,
        "pretrained": False, "decoder_options": {"expansion": 1}, "drop_path": 0.0,
        "options": {"rank": 3, "task_rank": {"semseg": 1, "depth": 2}, "scale": 3.0, "dropout": 0.0},
    }  # fmt: skip
    plain, compiled = (
        ml.train(ml.TrainConfig(**settings, compile=compiles, out=tmp_path / str(compiles)))
        for compiles in (False, True)
    )
    for expected, record in zip(plain.log, compiled.log, strict=True):
        assert record == pytest.approx(expected, rel=1e-5)
    again = ml.MultiTaskModel.from_pretrained(tmp_path / "True/model")
    assert again.state_dict().keys() == plain.model.state_dict().keys() == compiled.model.state_dict().keys()
