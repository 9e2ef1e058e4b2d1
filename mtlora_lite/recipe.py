"""The recipe of the MTLoRA paper, scaled to the length of a run: AdamW, linear warm-up, cosine decay, clipping.

Source: Agiza et al., CVPR 2024, arXiv 2403.20320, sec. 4; the shares below are those of its released configuration.
"""

import math
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

# Shares of the paper's run: 20 of 300 epochs of warm-up; first and last learning rate as parts of the peak.
WARMUP, START_LR, FINAL_LR = 20 / 300, 1e-3, 1e-2
ADAM = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.05}
CLIP_NORM = 5.0
FUSED_ON = ("cpu", "cuda", "mps", "xpu")  # devices on which one kernel updates all parameters


def build_optimizer(model: nn.Module, lr: float, decoder_lr_factor: float = 1.0) -> Optimizer:
    """AdamW over what is trained of a model, whose parameters lie where they will stay; see ``decay_groups``."""
    groups = decay_groups(model, decoder_lr_factor)
    device = groups[0]["params"][0].device.type
    return AdamW(groups, lr=lr, fused=device in FUSED_ON, **ADAM)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate: as it is for the backbone, times its factor for fusion and decoders."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def decay_groups(model: nn.Module, decoder_lr_factor: float = 1.0) -> list[dict[str, Any]]:
    """Trained parameters in groups: weight decay for matrices, none for biases and other 1-D parameters.

    Fusion and decoders, which start from nothing, may learn at a multiple of the rate that suits a pre-trained
    backbone: they are groups of their own then. Every group says its ``lr_factor``.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = decoder_lr_factor if "decoders" in name.split(".") else 1.0
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [
        {"params": parameters, "lr_factor": factor} | ({} if decays else {"weight_decay": 0.0})
        for (factor, decays), parameters in groups.items()
        if parameters
    ]


def lr_factor(step: int, steps: int) -> float:
    """Part of the peak learning rate at ``step``: linear warm-up, then half a cosine down to ``FINAL_LR``."""
    warmup = max(1, round(WARMUP * steps))
    if step < warmup:
        return START_LR + (1 - START_LR) * step / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * progress))
