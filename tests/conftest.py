"""What tests share: one thread, fixed seeds, and small models with every number that could hide a bug set oddly."""

import sys
from pathlib import Path

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer

from mtlora_lite.model import build_model

collect_ignore = ["slow"]  # only when they are named, see the Makefile

torch.set_num_threads(1)  # from the start, for sums depend on it; more threads only get in each other's way here
sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside the tests: official.py, oracle.py


@pytest.fixture(autouse=True)
def _deterministic():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache of this session's own: rendered once, shared by its tests, and nothing of it is left behind."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MTLORA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A saved model of two tasks with random weights, for 64 pixels."""
    torch.manual_seed(0)
    model = build_model(
        backbone="swin_scenes_tiny", tasks=("semseg", "depth"), img_size=64, pretrained=False, rank=2, task_rank=2,
        decoder_options={"expansion": 1},
    )  # fmt: skip
    return model.save_pretrained(tmp_path_factory.mktemp("run") / "model").parent


@pytest.fixture
def small_swin():
    """A function that makes a small timm Swin; weights are not those of an initialisation (biases are not zero)."""

    def make(img_size=(64, 96), **overrides):
        options = {
            "embed_dim": 12,
            "depths": (2, 1, 2, 2),
            "num_heads": (1, 2, 3, 4),
            "window_size": 4,
            "drop_path_rate": 0.0,
        }
        torch.manual_seed(1)
        swin = SwinTransformer(img_size=img_size, num_classes=0, **(options | overrides))
        for parameter in swin.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        return swin.eval()

    return make
