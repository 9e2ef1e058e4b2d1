"""From the released code's checkpoints and back, by the command a user would type."""

from pathlib import Path

import pytest
import torch

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.unpickle import read_state_dict

SHARED = Path(__file__).parents[1].parent / "shared"
OFFICIAL = SHARED / "fixtures/m1_matrix/ckpt_official.pth"


@pytest.mark.skipif(not OFFICIAL.is_file(), reason="the released checkpoint is not beside the checkout")
def test_a_released_checkpoint_becomes_ours_and_goes_back(tmp_path, capsys):
    options = ["--img-size", "128", "--scale", "4.0"]
    assert main(["export", "--from-official", str(OFFICIAL), "--out", str(tmp_path / "ours"), *options]) == 0
    assert "TS-LoRA" in capsys.readouterr().out
    model = ml.MultiTaskModel.from_pretrained(tmp_path / "ours")
    expected = ml.load_official(OFFICIAL, img_size=128)
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for task, logits in expected(images).items():
            assert torch.equal(model(images)[task], logits)
    assert main(["export", "--checkpoint", str(tmp_path / "ours"), "--out", str(tmp_path / "back.pth")]) == 0
    first, second = (read_state_dict(path) for path in (OFFICIAL, tmp_path / "back.pth"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("sources", [[], ["--from-official", "a.pth", "--checkpoint", "b"]])
def test_there_is_one_thing_to_convert(sources, capsys, tmp_path):
    assert main(["export", *sources, "--out", str(tmp_path)]) == 2
    assert "one of the two" in capsys.readouterr().err
