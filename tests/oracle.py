"""MTLoRA's forward pass once more, from the equations: deliberately naive, and independent of the package.

Plain functions over a state dict. One task after the other, one window after the other, one head after the other; every
matrix product of an adapted layer written out. Nothing here imports the package or timm, so that agreement with them
means something. Maps are (B, H, W, C) until the end.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5  # of every LayerNorm


@dataclass(frozen=True)
class Setting:
    """What the shapes in a state dict do not say: the backbone's plan, the scales, the way updates combine."""

    tasks: tuple[str, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    scale: tuple[float, ...]  # per stage
    task_scale: dict[str, tuple[float, ...]]  # per task and stage
    combine: str
    patch: int = 4


def layer_norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + EPS).sqrt() * weight + bias


def base(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """W x + b of a layer, adapted (its linear one level down) or not."""
    prefix = f"{name}.linear" if f"{name}.linear.weight" in state else name
    bias = state.get(f"{prefix}.bias", torch.zeros(()))
    return x @ state[f"{prefix}.weight"].T + bias


def shared_update(state: dict[str, Tensor], name: str, x: Tensor, scale: float) -> Tensor:
    """s B A x; nothing where the layer has no shared matrices."""
    if f"{name}.lora_ta_A" not in state:
        return torch.zeros(())
    return scale * (x @ state[f"{name}.lora_ta_A"].T) @ state[f"{name}.lora_ta_B"].T


def adapted(state: dict[str, Tensor], name: str, x: Tensor, scale: float) -> Tensor:
    """A layer without tasks: W x + b + s B A x in every combine mode."""
    return base(state, name, x) + shared_update(state, name, x, scale)


def forked(
    state: dict[str, Tensor], name: str, x: Tensor, streams: dict[str, Tensor], setting: Setting, stage: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """A layer with tasks: its shared output, and one output per task. ``streams`` holds each task's own input x_t."""
    frozen = base(state, name, x)
    shared = shared_update(state, name, x, setting.scale[stage])
    outputs = {}
    for task in setting.tasks:
        outputs[task] = frozen
        if setting.combine in ("matrixv2", "lora_only"):
            outputs[task] = outputs[task] + shared
        if setting.combine != "lora_only":
            down, up = state[f"{name}.lora_ts_A.{task}"], state[f"{name}.lora_ts_B.{task}"]
            own = streams[task] @ down.T @ up.T
            outputs[task] = outputs[task] + setting.task_scale[task][stage] * own
    if setting.combine == "addition":
        return frozen + layer_norm(state, f"{name}.lora_norm", sum(outputs.values())), outputs
    return frozen + shared, outputs


def region(position: int, size: int, window: int, shift: int) -> int:
    """Which part of the rolled axis a position came from: parts do not look at each other across the seam."""
    if shift == 0 or position < size - window:
        return 0
    return 1 if position < size - shift else 2


def window_attention(q: Tensor, k: Tensor, v: Tensor, table: Tensor, places: list, window: list[int]) -> Tensor:
    """One head in one window: q, k, v (B, N, D); ``places`` are the tokens' (row, column, region)."""
    index = [
        [(r - row + window[0] - 1) * (2 * window[1] - 1) + (c - column + window[1] - 1) for row, column, _ in places]
        for r, c, _ in places
    ]
    seam = [[-100.0 if here != there else 0.0 for *_, there in places] for *_, here in places]
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + table[torch.tensor(index)] + torch.tensor(seam)  # (B, N, N)
    return scores.softmax(dim=-1) @ v


def attention(state: dict[str, Tensor], block: str, x: Tensor, index: int, setting: Setting, stage: int) -> Tensor:
    """Windowed attention without its output projection: (B, H, W, C) to (B, H, W, C)."""
    _, height, width, channels = x.shape
    window = [min(setting.window, size) for size in (height, width)]
    shift = [setting.window // 2 if index % 2 and size > setting.window else 0 for size in (height, width)]
    x = x.roll((-shift[0], -shift[1]), dims=(1, 2))
    x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))  # zeros, which take part like other tokens
    padded = x.shape[1:3]
    q, k, v = adapted(state, f"{block}.attn.qkv", x, setting.scale[stage]).chunk(3, dim=-1)
    table = state[f"{block}.attn.relative_position_bias_table"]
    head_dim = channels // setting.heads[stage]
    rows = []
    for top in range(0, padded[0], window[0]):
        row = []
        for left in range(0, padded[1], window[1]):
            here = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
            vertical = [region(top + r, padded[0], window[0], shift[0]) for r in range(window[0])]
            horizontal = [region(left + c, padded[1], window[1], shift[1]) for c in range(window[1])]
            places = [(r, c, (vr, hc)) for r, vr in enumerate(vertical) for c, hc in enumerate(horizontal)]
            heads = []
            for head in range(setting.heads[stage]):
                part = (*here, slice(head * head_dim, (head + 1) * head_dim))
                tokens = [m[part].reshape(len(x), -1, head_dim) for m in (q, k, v)]  # (B, N, D)
                heads.append(window_attention(*tokens, table[:, head], places, window))
            row.append(torch.cat(heads, dim=-1).reshape(len(x), *window, channels))
        rows.append(torch.cat(row, dim=2))
    return torch.cat(rows, dim=1)[:, :height, :width].roll(shift, dims=(1, 2))


def plain_block(state: dict[str, Tensor], block: str, x: Tensor, index: int, setting: Setting, stage: int) -> Tensor:
    """A block with shared updates only."""
    scale = setting.scale[stage]
    heads = attention(state, block, layer_norm(state, f"{block}.norm1", x), index, setting, stage)
    x = x + adapted(state, f"{block}.attn.proj", heads, scale)
    hidden = F.gelu(adapted(state, f"{block}.mlp.fc1", layer_norm(state, f"{block}.norm2", x), scale))
    return x + adapted(state, f"{block}.mlp.fc2", hidden, scale)


def forked_block(
    state: dict[str, Tensor], block: str, x: Tensor, index: int, setting: Setting, stage: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """The last block of a stage: attention is shared, the streams part at its projection."""
    heads = attention(state, block, layer_norm(state, f"{block}.norm1", x), index, setting, stage)
    projected = forked(state, f"{block}.attn.proj", heads, dict.fromkeys(setting.tasks, heads), setting, stage)
    shared, streams = x + projected[0], {task: x + out for task, out in projected[1].items()}

    normed = layer_norm(state, f"{block}.norm2", shared)
    normed_streams = {task: layer_norm(state, f"{block}.norm2", stream) for task, stream in streams.items()}
    hidden, hidden_streams = forked(state, f"{block}.mlp.fc1", normed, normed_streams, setting, stage)
    hidden, hidden_streams = F.gelu(hidden), {task: F.gelu(stream) for task, stream in hidden_streams.items()}
    out, out_streams = forked(state, f"{block}.mlp.fc2", hidden, hidden_streams, setting, stage)
    return shared + out, {task: streams[task] + out_streams[task] for task in setting.tasks}


def merge_patches(state: dict[str, Tensor], name: str, x: Tensor, scale: float) -> Tensor:
    """Halve height and width: the neighbours (0,0) (1,0) (0,1) (1,1), a norm, a (possibly adapted) reduction."""
    x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    neighbours = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
    x = layer_norm(state, f"{name}.norm", torch.cat(neighbours, dim=-1))
    return adapted(state, f"{name}.reduction", x, scale)


def task_pyramids(
    state: dict[str, Tensor], images: Tensor, setting: Setting, prefix: str = "backbone."
) -> dict[str, list[Tensor]]:
    """The four maps (B, C_i, H_i, W_i) of every task.

    The shared stream goes from stage to stage. The task streams leave it in each stage's last block, pass through the
    same patch merging as it does, and end there.
    """
    state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    x = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=setting.patch)
    x = layer_norm(state, "patch_embed.norm", x.permute(0, 2, 3, 1))  # (B, H, W, C)
    pyramids: dict[str, list[Tensor]] = {task: [] for task in setting.tasks}
    last = len(setting.depths) - 1
    for stage, depth in enumerate(setting.depths):
        for index in range(depth - 1):
            x = plain_block(state, f"layers.{stage}.blocks.{index}", x, index, setting, stage)
        x, streams = forked_block(state, f"layers.{stage}.blocks.{depth - 1}", x, depth - 1, setting, stage)
        if stage < last:
            merging, scale = f"layers.{stage + 1}.downsample", setting.scale[stage]
            x = merge_patches(state, merging, x, scale)
            streams = {task: merge_patches(state, merging, stream, scale) for task, stream in streams.items()}
        for task, stream in streams.items():
            pyramids[task].append(stream.permute(0, 3, 1, 2))  # (B, C, H, W)
    return pyramids
