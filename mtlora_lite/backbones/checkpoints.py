"""The weights of a backbone: of a Swin from a file, of any from the hub, and of a trained one as timm has them.

A file may be the original repository's or timm's, whatever it is called. The two differ in where patch merging stands
(the original: at the end of a stage, timm: at the start of the next) and in buffers that timm computes. What kind of
Swin it is can be read off the shapes.
"""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

from timm.layers import resize_rel_pos_bias_table
from timm.models import get_pretrained_cfg
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mtlora_lite.adapted import INSERTED, Adapted
from mtlora_lite.backbones.base import Backbone
from mtlora_lite.backbones.prompts import PromptedBlock
from mtlora_lite.unpickle import WEIGHT_SUFFIXES, read_state_dict

TABLE = "relative_position_bias_table"
COMPUTED_BUFFERS = ("relative_position_index", "attn_mask")  # follow from window and image size
UNUSED = ("norm.", "head.")  # the final norm and the classifier: features are taken before them
HUB_FILE = "model.safetensors"
HUB_TIMEOUT = 10  # seconds; the hub's own client tries again for minutes


def is_weights_file(backbone: str) -> bool:
    """Whether a backbone is given as a file of weights and not by name."""
    return Path(backbone).suffix in WEIGHT_SUFFIXES


def swin_shape(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the arguments of timm's ``SwinTransformer`` off the shapes of its weights.

    Returns:
        ``embed_dim``, and one number per stage of ``depths``, ``num_heads`` and ``window_size``; fit for JSON.

    Raises:
        ValueError: these are no weights of a Swin.
    """
    stages: dict[int, list[Tensor]] = {}
    for name, value in state.items():
        if match := re.fullmatch(rf"layers\.(\d+)\.blocks\.\d+\.attn\.{TABLE}", name):
            stages.setdefault(int(match[1]), []).append(value)  # ((2w-1)², heads)
    if not stages or "patch_embed.proj.weight" not in state:
        raise ValueError(f"These are no weights of a Swin: no patch_embed.proj.weight, or no {TABLE}.")
    tables = [stages[index] for index in sorted(stages)]
    return {
        "embed_dim": state["patch_embed.proj.weight"].shape[0],
        "depths": [len(blocks) for blocks in tables],
        "num_heads": [blocks[0].shape[1] for blocks in tables],
        "window_size": [(isqrt(len(blocks[0])) + 1) // 2 for blocks in tables],
    }


def timm_state_dict(backbone: Backbone) -> dict[str, Tensor]:
    """The shared stream of a backbone as weights of a plain model of timm, shared updates folded into them.

    Private updates are left out. A final norm, which a backbone here does not have, is as timm initialises it.

    Raises:
        ValueError: no plain model has its outputs, because the shared stream reads the task streams (``addition``), or
            because what was inserted cannot be folded.
    """
    if backbone.tasks_feed_shared:
        raise ValueError(
            "With combine='addition' the shared stream reads the streams of the tasks: it fits into no plain "
            f"{backbone.title}."
        )
    if not is_foldable(backbone):
        raise ValueError(f"What was inserted cannot be folded into weights: it fits into no plain {backbone.title}.")
    state, names = backbone.state_dict(), {}
    for name, layer in backbone.named_modules():
        if isinstance(layer, Adapted):
            inside = f"{name}.{layer.base_name}."
            names |= {each: each.replace(inside, f"{name}.") for each in state if each.startswith(inside)}
            if layer.mergeable and not layer.merged:
                state |= {inside + leaf: value for leaf, value in layer.folded().items()}
    plain = {
        re.sub(r"(blocks\.\d+\.)proj\.", r"\1attn.proj.", names.get(name, name)): value
        for name, value in state.items()
        if backbone.parameter_group(name) not in INSERTED
    }
    if backbone.final_norm:
        norm = nn.LayerNorm(backbone.feature_channels[-1])
        plain |= {f"{backbone.final_norm}.{name}": value for name, value in norm.state_dict().items()}
    return {name: value.detach().cpu().contiguous() for name, value in plain.items()}


def is_foldable(backbone: Backbone) -> bool:
    """Whether weights of a plain model can do what a backbone does on its shared stream."""
    return not any(
        isinstance(module, PromptedBlock) or (isinstance(module, Adapted) and not module.mergeable)
        for module in backbone.modules()
    )


def load_swin(path: str | Path, *, pretrained: bool = True, **options: Any) -> SwinTransformer:
    """Build the Swin that a file holds the weights of.

    Args:
        path: the original repository's ``.pth``, or timm's ``.safetensors`` or ``.pth``.
        pretrained: load the weights too; else only the architecture is taken from the file.
        **options: further arguments of ``SwinTransformer``: ``img_size``, ``drop_path_rate``, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds something else than a Swin.
    """
    state = _timm_names(read_state_dict(path))
    try:
        shape = swin_shape(state)
    except ValueError:
        raise ValueError(
            f"{path} holds no plain Swin: its first tensor is {next(iter(state), 'none')}. (Checkpoints of the MTLoRA "
            "paper's code are read by load_official.)"
        ) from None
    swin = SwinTransformer(**shape, **options)
    if pretrained:
        expected = {name: value for name, value in swin.state_dict().items() if not name.startswith(UNUSED)}
        state = {name: _fit_table(swin, name, value) for name, value in state.items()}
        check_fit(state, expected, str(path))
        swin.load_state_dict(state, strict=False)
    return swin


def _timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What is used of a plain Swin, under timm's names."""
    end_of_stage = int("layers.0.downsample.reduction.weight" in state)  # timm's first stage starts without merging
    return {
        re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + end_of_stage}.downsample", name): value
        for name, value in state.items()
        if not name.startswith(UNUSED) and not name.endswith(COMPUTED_BUFFERS)
    }


def _fit_table(swin: SwinTransformer, name: str, value: Tensor) -> Tensor:
    """Interpolate a relative position table, as timm does, where the image is too small for the file's window."""
    if not name.endswith(TABLE):
        return value
    attention = swin.get_submodule(name.rpartition(".")[0])
    return resize_rel_pos_bias_table(value, attention.window_size, attention.relative_position_bias_table.shape)


def check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Raise ``ValueError`` unless both have the same names and shapes; the message names the first that differs."""
    reshaped = [
        f"{name} is {tuple(found[name].shape)} and not {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    differences = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of another shape": reshaped,
    }
    told = [f"{len(names)} {what} ({names[0]})" for what, names in differences.items() if names]
    if told:
        hint = " Windows depend on the image: give the img_size it was trained at." if TABLE in str(reshaped) else ""
        raise ValueError(f"{source} does not fit the model that its shapes ask for: {', '.join(told)}.{hint}")


def hub_weights(name: str) -> str | None:
    """The file with the pre-trained weights of a timm name, fetched if need be; None where the hub has none.

    A file that was fetched before is taken without asking the hub.

    Raises:
        ConnectionError: the hub cannot be reached; the message names the two ways out.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    config = get_pretrained_cfg(name)
    if config is None or config.hf_hub_id is None:
        return None
    try:
        return hf_hub_download(config.hf_hub_id, HUB_FILE, local_files_only=True)
    except LocalEntryNotFoundError:
        pass
    try:
        get_hf_file_metadata(hf_hub_url(config.hf_hub_id, HUB_FILE), timeout=HUB_TIMEOUT)  # asks once
        return hf_hub_download(config.hf_hub_id, HUB_FILE)
    except Exception as error:  # of three HTTP libraries and the hub's own, without a common base
        raise ConnectionError(
            f"The weights of {name!r} cannot be fetched from {constants.ENDPOINT} ({type(error).__name__}): give a "
            "local file as the backbone (backbone='path/to/weights.pth'), or start from random ones, pretrained=False."
        ) from None
