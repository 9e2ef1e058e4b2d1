"""The fork: the last block of a stage, in which the shared stream parts into one stream per task.

Every stream runs through the same frozen layers, and four of them need not cost four times as much as one:

- Between the attention and the next stage all work is per token (in a Swin). Windows and shift are undone once, before
  ``proj``, and a strip of a few rows goes all the way while it is in the processor's cache.
- Only its low-rank inputs tell a task's stream from the shared one, so W x is computed once for all (``lora``).
- The hidden layer of the tasks, four times as wide as their streams, is not kept for the backward pass (``lora``).
- The last two matrices of a task, patch merging's and that of its fusion, are multiplied before they meet a token.

All of it is algebra: the same numbers, up to rounding, as one stream after the other.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.lora import LoRALinear, MTLoRALinear, Updates, forked_mlp
from mtlora_lite.pieces import pieces_pay

STRIP_TOKENS = 1024  # that are worked at together on a CPU


class ForkedBlock(nn.Module):
    """The last block of a stage, in which the shared stream forks into one stream per task.

    Made from a timm block, whose modules and geometry it takes over under their names; only ``attn.proj`` moves up
    to ``proj``, because it is applied after the windows are undone. A family has a subclass, which says how attention
    is called and may say more.

    Shapes: ``x (B, H, W, C)`` to ``(B, H, W, C), (T, B, H, W, C)``.

    Attributes:
        post_norm: whether the norms come after attention and MLP, and not before.
        per_token: whether the MLP works on every token for itself, so that maps may be cut into strips.
    """

    post_norm: ClassVar[bool] = False
    per_token: ClassVar[bool] = True

    def __init__(self, block: nn.Module):
        nn.Module.__init__(self)
        self.__dict__.update(block.__dict__)  # the block itself is not used any more
        self.proj = self.attn.proj
        self.attn.proj = nn.Identity()

    def attend(self, x: Tensor) -> Tensor:
        """Attention up to ``proj``, (B, H, W, C) to the same, with the norm before it where there is one."""
        raise NotImplementedError

    def activate(self, y: Tensor) -> Tensor:
        """What stands between ``fc1`` and ``fc2``, for maps (..., H, W, hidden)."""
        return self.mlp.norm(self.mlp.drop1(self.mlp.act(y)))

    def forward(
        self, x: Tensor, tasks: Sequence[str], finish: Callable[[Tensor], Tensor] = lambda x_tasks: x_tasks
    ) -> tuple[Tensor, Tensor]:
        """Run the shared stream and the streams of ``tasks``.

        Where all work after attention is per token, it is done strip by strip: a strip of all streams fits the
        processor's cache, and what ``finish`` makes of it is all that is ever held of the tasks' streams.
        """
        context = self.attend(x)  # (B, H, W, C): before proj
        layers = {"proj": self.proj, "fc1": self.mlp.fc1, "fc2": self.mlp.fc2}
        updates = {k: layer.updates(tasks) for k, layer in layers.items() if isinstance(layer, MTLoRALinear)}
        # Each stream and sample draws its own drop-path mask, as in the paper's code: 0, or 1 / probability to stay.
        streams, samples = 1 + len(tasks), x.shape[0]
        ones = x.new_ones(streams * samples, 1, 1, 1)
        kept = [drop(ones).unflatten(0, (streams, samples)) for drop in (self.drop_path1, self.drop_path2)]
        rows = _rows_per_strip(x) if self.per_token else x.shape[1]
        strips = [
            self._run_strip(*strip, updates, kept, finish)
            for strip in zip(x.split(rows, dim=1), context.split(rows, dim=1), strict=True)
        ]
        shared, features = zip(*strips, strict=True)
        return torch.cat(shared, dim=1), torch.cat(features, dim=2)

    def _run_strip(
        self,
        x: Tensor,
        context: Tensor,
        updates: Mapping[str, Updates],
        kept: Sequence[Tensor],
        finish: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        y = _linear(self.proj, context, None, updates.get("proj"))
        x, x_tasks = _add(x, None, *self._after(self.norm1, *y), kept[0])  # (B, h, W, C), (T, B, h, W, C)
        y = self._mlp(*self._before(self.norm2, x, x_tasks), updates)
        x, x_tasks = _add(x, x_tasks, *self._after(self.norm2, *y), kept[1])
        return x, finish(x_tasks)

    def _before(self, norm: nn.Module, x: Tensor, x_tasks: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (x, x_tasks) if self.post_norm else _each(norm, x, x_tasks)

    def _after(self, norm: nn.Module, y: Tensor, y_tasks: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return _each(norm, y, y_tasks) if self.post_norm else (y, y_tasks)

    def _mlp(self, y: Tensor, y_tasks: Tensor | None, updates: Mapping[str, Updates]) -> tuple[Tensor, Tensor | None]:
        fc1, fc2 = self.mlp.fc1, self.mlp.fc2
        if {"fc1", "fc2"} <= updates.keys() and fc1.combine != "addition":
            return forked_mlp(fc1, self.activate, fc2, y, y_tasks, (updates["fc1"], updates["fc2"]))
        y, y_tasks = _linear(fc1, y, y_tasks, updates.get("fc1"))  # (B, h, W, 4C), (T, B, h, W, 4C)
        return _linear(fc2, *_each(self.activate, y, y_tasks), updates.get("fc2"))


def _rows_per_strip(x: Tensor) -> int:
    """An even number, so that patch merging finds its neighbours; all rows where nothing is gained by strips."""
    _, height, width, _ = x.shape
    if not pieces_pay(x):
        return height
    return max(2, STRIP_TOKENS // (len(x) * width) // 2 * 2)


def _linear(
    layer: nn.Module, x: Tensor, x_tasks: Tensor | None, updates: Updates | None
) -> tuple[Tensor, Tensor | None]:
    """Apply a layer to all streams; one without task updates treats every stream alike."""
    if updates is not None:
        return layer(x, x_tasks, updates)
    return _each(layer, x, x_tasks)


def _each(function: Callable[[Tensor], Tensor], x: Tensor, x_tasks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """A function of each stream by itself, where there are any task streams."""
    return function(x), None if x_tasks is None else function(x_tasks)


def _add(
    x: Tensor, x_tasks: Tensor | None, y: Tensor, y_tasks: Tensor | None, kept: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Residual connection of all streams; ``kept`` (1 + T, B, 1, 1, 1) is the factor of each stream and sample."""
    if y_tasks is not None:
        x_tasks = torch.addcmul(x if x_tasks is None else x_tasks, y_tasks, kept[1:])  # (T, B, h, W, C)
    return torch.addcmul(x, y, kept[0]), x_tasks


def merge_patches(merging: Callable, x: Tensor, x_tasks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Patch merging of all streams in one call; its weights are shared."""
    if x_tasks is None:
        return merging(x), None
    streams = merging(torch.cat([x[None], x_tasks]).flatten(0, 1))  # ((1 + T)·B, H/2, W/2, 2C)
    streams = streams.unflatten(0, (1 + len(x_tasks), -1))
    return streams[0], streams[1:]


def product_pays(merging: nn.Module, projection: Tensor, x: Tensor) -> bool:
    """Whether to multiply the matrices of patch merging and a projection (T, c, 2C) before they meet the tokens.

    The product costs as much as merging c tokens, so it must serve more than that. Counted is one image: a graph must
    not depend on their number.
    """
    return isinstance(merging, nn.Identity) or x.shape[1] * x.shape[2] // 4 > 2 * projection.shape[1]


def merge_and_project(merging: nn.Module, projection: Tensor) -> Callable[[Tensor], Tensor]:
    """A Swin's patch merging and then a matrix of each task (T, c, 2C) as one matrix: for streams (T, B, H, W, C).

    That one has c · 4C numbers, where merging alone has 2C · 4C, and c may be a tenth of 2C.
    """
    if isinstance(merging, nn.Identity):
        return partial(multiply, matrices=projection)
    norm, reduction = merging.norm, merging.reduction
    adapted = isinstance(reduction, LoRALinear)
    product = projection @ (reduction.linear if adapted else reduction).weight  # (T, c, 4C)
    up = projection @ (reduction.scale * reduction.lora_ta_B) if adapted and not reduction.merged else None

    def finish(x_tasks: Tensor) -> Tensor:
        x_tasks = _neighbours(x_tasks)  # (T, B, H/2, W/2, 4C)
        x_tasks = F.layer_norm(x_tasks, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        features = multiply(x_tasks, product)
        if up is None:
            return features
        return features + multiply(F.linear(reduction.dropout(x_tasks), reduction.lora_ta_A), up)

    return finish


def multiply(x_tasks: Tensor, matrices: Tensor) -> Tensor:
    """The tasks' (T, ..., in) times each one's (out, in)."""
    tasks = len(matrices)
    flat = torch.bmm(x_tasks.reshape(tasks, -1, x_tasks.shape[-1]), matrices.transpose(1, 2))
    return flat.unflatten(1, x_tasks.shape[1:-1])


def _neighbours(x: Tensor) -> Tensor:
    """The four tokens that become one, side by side, in timm's order: (..., H, W, C) to (..., H/2, W/2, 4C)."""
    x = F.pad(x, (0, 0, 0, x.shape[-2] % 2, 0, x.shape[-3] % 2))
    x = x.unflatten(-2, (-1, 2)).unflatten(-4, (-1, 2))  # (..., H/2, 2, W/2, 2, C)
    return x.movedim(-4, -2).flatten(-3)
