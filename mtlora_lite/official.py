"""The checkpoints of the MTLoRA paper's released code: read into our model, and written back.

Their layout is ours under other names, but for two things: patch merging stands at the end of a stage there and at the
start of the next one here, and window buffers are saved there and computed here. What the model is (Swin, method,
ranks, tasks, heads) is read off names and shapes. The scales, and whether the tasks read the shared update
(``matrixv2``) or not (``matrix``), leave no trace in a file: they are arguments.

Source: Agiza et al., CVPR 2024, arXiv 2403.20320; the layout of its code's checkpoints.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlora_lite.backbones import SwinBackbone, swin_shape
from mtlora_lite.backbones.checkpoints import COMPUTED_BUFFERS, check_fit
from mtlora_lite.folding import is_merged
from mtlora_lite.model import MultiTaskModel, build_model
from mtlora_lite.records import write_atomically
from mtlora_lite.unpickle import find_state_dict, read_state_dict

# Our decoder, what stands between the task and the head's layers in its official names, and the head's last layer.
HEADS = {"hrnet": ("last_layer.", 3), "aspp": ("", 4)}

# Ours -> official; {head} is filled in from HEADS.
RENAMING = (
    (r"(blocks\.\d+\.)proj\.", r"\1attn.proj."),  # we move it up where the stream forks
    (r"\.lora_ta_", ".lora_shared_"),
    (r"\.lora_ts_", ".lora_tasks_"),
    (r"^decoders\.(\w+)\.fusion\.convs\.", r"downsampler.\1.downsample_"),
    (r"^decoders\.(\w+)\.head\.", r"decoders.decoders.\1.{head}"),
)


def load_official(
    checkpoint: str | Path | Mapping[str, Any],
    *,
    scale: float | tuple[float, ...] = 4.0,
    task_scale: float | tuple[float, ...] | Mapping[str, float | tuple[float, ...]] | None = None,
    combine: str = "matrix",
    img_size: int | tuple[int, int] = 448,
) -> MultiTaskModel:
    """Build the model that a checkpoint of the paper's released code holds, in evaluation mode.

    Nothing in the file is executed, see ``unpickle``. What the released code trains is what ``requires_grad`` says.

    Args:
        checkpoint: the ``.pth`` (or a ``.safetensors`` of its weights), or a state dict.
        scale: factor of the shared updates, one number or one per stage; 4.0 in all released configurations.
        task_scale: factor of the private updates, the same, or {task: either}; None: as ``scale``, which is what the
            released code does whatever its configuration says.
        combine: how shared and private updates meet, see ``lora.MTLoRALinear``.
        img_size: height and width in pixels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, is of another kind, was trained with another ``combine``, or has parts we lack.
    """
    is_state = isinstance(checkpoint, Mapping)
    source = "The state dict" if is_state else str(checkpoint)
    state = find_state_dict(checkpoint, source) if is_state else read_state_dict(checkpoint)
    state = {name: value for name, value in state.items() if not name.endswith(COMPUTED_BUFFERS)}
    plan = _plan(state, source)
    _check_combine(combine, state, source)
    model = build_model(
        **plan, img_size=img_size, pretrained=False, scale=scale, task_scale=task_scale, combine=combine
    )
    ours = model.state_dict()
    names = {official_name(name, plan["decoder"]): name for name in ours}
    check_fit(state, {official: ours[name] for official, name in names.items()}, source)
    model.load_state_dict({names[official]: value for official, value in state.items()})
    return model.eval()


def official_state_dict(model: MultiTaskModel) -> dict[str, Tensor]:
    """The weights of a model under the names of the released code, with the buffers that it saves.

    Raises:
        ValueError: the released code has no such backbone, method or head, or the model is merged.
    """
    if type(model.backbone) is not SwinBackbone:
        raise ValueError(f"The released code has no {model.backbone.title}: it has Swin alone.")
    if not model.config.method.startswith("mtlora") or model.config.decoder not in HEADS:
        raise ValueError(
            f"The released code has no {model.config.method!r} with decoder {model.config.decoder!r}: it has mtlora "
            f"and mtlora_plus, with {' or '.join(HEADS)}."
        )
    if model.config.folded:
        raise ValueError("The updates lie in the weights for good: take the checkpoint that this model was made of.")
    if is_merged(model):
        raise ValueError("The updates are merged into the weights: call model.unmerge() before saving.")
    computed = {name: value for name, value in model.named_buffers() if name.endswith(COMPUTED_BUFFERS)}
    return {
        official_name(name, model.config.decoder): value.detach()
        for name, value in (model.state_dict() | computed).items()
    }


def save_official(model: MultiTaskModel, path: str | Path) -> Path:
    """Write a model as the released code would, its weights under ``model``, and return the path.

    Raises:
        ValueError: as ``official_state_dict``.
    """
    path = Path(path)
    content = {"model": {name: value.cpu() for name, value in official_state_dict(model).items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: torch.save(content, temporary))
    return path


def official_name(name: str, decoder: str) -> str:
    """The name that a tensor of ours has in the released code."""
    name = re.sub(r"layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", name)
    for ours, theirs in RENAMING:
        name = re.sub(ours, theirs.format(head=HEADS[decoder][0]), name)
    return name


def _plan(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The arguments of ``build_model`` that names and shapes tell."""
    tasks = tuple(dict.fromkeys(re.findall(r"^decoders\.decoders\.([^.]+)\.", "\n".join(state), re.MULTILINE)))
    prefix = "backbone."
    backbone = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    targets = tuple(target for target in SwinBackbone.targets() if any(f".{target}.lora_" in name for name in backbone))
    if not tasks or not targets:
        raise ValueError(
            f"{source} is no checkpoint of MTLoRA's released code: no {'updates' if tasks else 'decoders'} in it. "
            "(Weights of a plain Swin are given as build_model(backbone=...).)"
        )
    shape = swin_shape(backbone)
    stages = range(len(shape["depths"]))
    private = any(".lora_tasks_" in name for name in backbone)
    task_rank = {task: tuple(_rank(backbone, i, f"tasks_A.{task}") for i in stages) for task in tasks}
    return {
        "method": "mtlora_plus" if "reduction" in targets else "mtlora",
        "backbone": shape,
        "tasks": tasks,
        **_decoders(state, tasks, source),
        "targets": targets,
        "rank": tuple(_rank(backbone, stage, "shared_A") for stage in stages),
        **({"task_rank": task_rank} if private else {}),
    }


def _rank(backbone: Mapping[str, Tensor], stage: int, matrix: str) -> int:
    """The rank of a stage's updates: rows of the first A; 1 where there is none, for ``check_fit`` to report."""
    pattern = rf"layers\.{stage}\.blocks\..*\.lora_{re.escape(matrix)}"
    return next((len(value) for name, value in backbone.items() if re.fullmatch(pattern, name)), 1)


def _decoders(state: Mapping[str, Tensor], tasks: tuple[str, ...], source: str) -> dict[str, Any]:
    """Which decoder, its options, and the outputs per task."""
    last = {
        (task, decoder): state[name]
        for task in tasks
        for decoder, (head, index) in HEADS.items()
        if (name := f"decoders.decoders.{task}.{head}{index}.weight") in state
    }
    kinds = {decoder for _, decoder in last}
    if len(last) != len(tasks) or len(kinds) != 1:
        raise ValueError(f"{source} has heads that are not read: all tasks need the same one of {', '.join(HEADS)}.")
    options = {}
    if kinds == {"hrnet"}:
        projections = [state.get(f"downsampler.{tasks[0]}.downsample_{level}.weight", ()) for level in range(4)]
        channels = list(map(len, projections))
        hidden = len(state.get(f"decoders.decoders.{tasks[0]}.last_layer.0.weight", ()))
        options = {"channels": channels, "expansion": hidden // max(1, sum(channels))}
    outputs = {task: len(weight) for (task, _), weight in last.items()}
    return {"decoder": kinds.pop(), "decoder_options": options, "channels": outputs}


def _check_combine(combine: str, state: Mapping[str, Tensor], source: str) -> None:
    """Two of the modes leave traces in a file: raise ``ValueError`` where they speak against the argument."""
    possible = ("matrix", "matrixv2")
    if not any(".lora_tasks_" in name for name in state):
        possible = ("lora_only",)
    elif any(".lora_norm." in name for name in state):
        possible = ("addition",)
    if combine not in possible:
        raise ValueError(f"{source} was not trained with combine={combine!r}: give {' or '.join(map(repr, possible))}.")
