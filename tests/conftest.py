"""What tests share: two threads, fixed seeds, and small models with every number that could hide a bug set oddly."""

import sys
from pathlib import Path

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer

sys.path.insert(0, str(Path(__file__).parent))  # the helpers beside the tests: official.py, oracle.py


@pytest.fixture(autouse=True)
def _deterministic():
    torch.set_num_threads(2)
    torch.manual_seed(0)


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
