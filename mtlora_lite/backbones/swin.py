"""Swin Transformer for many tasks: timm's own modules, adapted in place.

What this file knows and no other file does: how timm's Swin is built, that it computes in NHWC, and that timm
puts a stage's patch merging at the START of the next stage (the original code has it at the end).

The shared stream runs through every block. In the last block of a stage it forks, after the (shared) attention:

    blocks 0 .. n-2      x ── norm1 ── attention ── proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x
    block n-1            x ── norm1 ── attention ─┬ proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x      to the next stage
                                                  ├ proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x_1    features of task 1
                                                  └ ...                                      x_T    features of task T

The task streams are side outputs: they pass the patch merging that follows and end there. So features have strides
8/16/32/32 and 2C/4C/8C/8C channels. Between the fork and the end of the block all work is per token, which is why
windows and shift are undone once, before ``proj``, and not once per task.

Sources: Swin, Liu et al., ICCV 2021, arXiv 2103.14030; MTLoRA, Agiza et al., CVPR 2024, arXiv 2403.20320, fig. 3.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock
from torch import Tensor, nn

from mtlora_lite.lora import LoRALinear, MTLoRALinear, Updates, forked_mlp
from mtlora_lite.pieces import pieces_pay

BLOCK_LINEARS = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
MERGING_LINEAR = "reduction"
TARGETS = (*BLOCK_LINEARS, MERGING_LINEAR)
FORK_TARGETS = ("proj", "fc1", "fc2")  # where task streams may have updates of their own: after attention

# What the parts of a Swin are called in reports and in the ``train`` option of methods, by a piece of their name.
PARAMETER_GROUPS = {
    "patch_embed": "patch_embed.",
    "rel_pos": "relative_position_bias_table",
    "norms": "norm",
    "merging": "reduction",
    "linears": "",
}

STRIP_TOKENS = 1024  # that a forked block works at together on a CPU, see ForkedBlock.forward

LinearFactory = Callable[[nn.Linear, int], nn.Module]  # (layer, stage) -> adapted layer


class ForkedBlock(SwinTransformerBlock):
    """The last block of a stage, in which the shared stream forks into one stream per task.

    Made from a timm block, whose modules and geometry it takes over under their names; only ``attn.proj`` moves up
    to ``proj``, because it is applied after the windows are undone.

    Shapes: ``x (B, H, W, C)`` to ``(B, H, W, C), (T, B, H, W, C)``.
    """

    def __init__(self, block: SwinTransformerBlock):
        nn.Module.__init__(self)
        self.__dict__.update(block.__dict__)  # the block itself is not used any more
        self.proj = self.attn.proj
        self.attn.proj = nn.Identity()

    def forward(self, x: Tensor, tasks: Sequence[str], leave: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Run the shared stream and the streams of ``tasks``.

        After attention all work is per token, so it is done strip by strip: a strip of all streams fits the
        processor's cache, and what ``leave`` makes of it is all that is ever held of the tasks' streams.
        """
        context = self._attn(self.norm1(x))  # (B, H, W, C): windows undone, before proj
        layers = {"proj": self.proj, "fc1": self.mlp.fc1, "fc2": self.mlp.fc2}
        updates = {k: layer.updates(tasks) for k, layer in layers.items() if isinstance(layer, MTLoRALinear)}
        # Each stream and sample draws its own drop-path mask, as in the paper's code: 0, or 1 / probability to stay.
        streams, samples = 1 + len(tasks), x.shape[0]
        ones = x.new_ones(streams * samples, 1, 1, 1)
        kept = [drop(ones).unflatten(0, (streams, samples)) for drop in (self.drop_path1, self.drop_path2)]
        rows = _rows_per_strip(x)
        strips = [
            self._run_strip(*strip, updates, kept, leave)
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
        leave: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        y, y_tasks = _linear(self.proj, context, None, updates.get("proj"))
        x, x_tasks = _add(x, None, y, y_tasks, kept[0])  # (B, h, W, C), (T, B, h, W, C)
        y, y_tasks = self._mlp(self.norm2(x), None if x_tasks is None else self.norm2(x_tasks), updates)
        x, x_tasks = _add(x, x_tasks, y, y_tasks, kept[1])
        return x, leave(x_tasks)

    def _mlp(self, y: Tensor, y_tasks: Tensor | None, updates: Mapping[str, Updates]) -> tuple[Tensor, Tensor | None]:
        fc1, fc2, activate = self.mlp.fc1, self.mlp.fc2, partial(_activate, self.mlp)
        if {"fc1", "fc2"} <= updates.keys() and fc1.combine != "addition":
            return forked_mlp(fc1, activate, fc2, y, y_tasks, (updates["fc1"], updates["fc2"]))
        y, y_tasks = _linear(fc1, y, y_tasks, updates.get("fc1"))  # (B, h, W, 4C), (T, B, h, W, 4C)
        y, y_tasks = activate(y), None if y_tasks is None else activate(y_tasks)
        return _linear(fc2, y, y_tasks, updates.get("fc2"))


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
        return layer.apply_updates(x, x_tasks, updates)
    return layer(x), None if x_tasks is None else layer(x_tasks)


def _activate(mlp: nn.Module, y: Tensor) -> Tensor:
    return mlp.norm(mlp.drop1(mlp.act(y)))


def _add(
    x: Tensor, x_tasks: Tensor | None, y: Tensor, y_tasks: Tensor | None, kept: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Residual connection of all streams; ``kept`` (1 + T, B, 1, 1, 1) is the factor of each stream and sample."""
    if y_tasks is not None:
        x_tasks = torch.addcmul(x if x_tasks is None else x_tasks, y_tasks, kept[1:])  # (T, B, h, W, C)
    return torch.addcmul(x, y, kept[0]), x_tasks


class SwinBackbone(nn.Module):
    """A timm Swin that gives every task its own four-level feature pyramid in one pass.

    As built it has one stream, so that all tasks get the same features; ``adapt`` inserts low-rank updates and forks.

    Args:
        swin: a timm ``SwinTransformer``, any size, window and image size. Its final norm and head are not used.

    Shapes: ``images (B, 3, H, W)`` to ``{task: [(B, C_i, H_i, W_i)] * 4}``.
    """

    def __init__(self, swin: SwinTransformer):
        super().__init__()
        self.patch_embed = swin.patch_embed
        self.layers = swin.layers
        dims = [info["num_chs"] for info in swin.feature_info]
        self.feature_channels = (*dims[1:], dims[-1])  # after patch merging; the last stage has none

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width that the model was built for."""
        return tuple(self.patch_embed.img_size)

    @property
    def num_stages(self) -> int:
        """Number of stages (four for every published Swin)."""
        return len(self.layers)

    @property
    def tasks_feed_shared(self) -> bool:
        """Whether the shared stream reads the task streams (``addition``), so that none of them may be left out."""
        return any(isinstance(module, MTLoRALinear) and module.combine == "addition" for module in self.modules())

    def forward(
        self, images: Tensor, tasks: Sequence[str], projections: Sequence[Tensor] | None = None
    ) -> dict[str, list[Tensor]]:
        """One pass over the images for all of ``tasks``.

        Args:
            images: (B, 3, H, W).
            tasks: whose features to compute.
            projections: per level a matrix of each task, (T, c_i, C_i), that the tasks' features are to be multiplied
                by; the maps then have c_i channels. The product costs less than features and multiplication.
        """
        check_image_size(images.shape[-2:], self.img_size)
        x = self.patch_embed(images)  # (B, H/4, W/4, C)
        levels = []
        for (stage, merging), projection in zip(self._stages(), projections or [None] * self.num_stages, strict=True):
            x, maps = _run_blocks(stage.blocks, x, tasks, partial(_leave, merging, projection))
            x = merging(x)
            if maps is None:  # one stream for all
                maps = [x] * len(tasks) if projection is None else [F.linear(x, matrix) for matrix in projection]
            levels.append([features.permute(0, 3, 1, 2) for features in maps])  # (B, C_i, H_i, W_i) of each task
        return {task: list(maps) for task, maps in zip(tasks, zip(*levels, strict=True), strict=True)}

    def _stages(self) -> Iterator[tuple[nn.Module, nn.Module]]:
        """Each stage with the patch merging that follows it (timm keeps that one in the next stage)."""
        mergings = [stage.downsample for stage in self.layers[1:]]
        return zip(self.layers, [*mergings, nn.Identity()], strict=True)

    def adapt(self, targets: Sequence[str], single: LinearFactory, forked: LinearFactory | None = None) -> None:
        """Replace linear layers by adapted ones.

        Args:
            targets: which layers, out of ``TARGETS``.
            single: makes the adapted layer where there is one stream.
            forked: makes it in the last block of a stage, after attention; None keeps one stream everywhere.

        Raises:
            ValueError: a target matches no layer of a Swin.
        """
        check_targets(targets)
        block_targets = [BLOCK_LINEARS[name] for name in BLOCK_LINEARS if name in targets]
        fork_targets = [BLOCK_LINEARS[name] for name in FORK_TARGETS if name in targets]
        for index, stage in enumerate(self.layers):
            last = len(stage.blocks) - 1
            for position, block in enumerate(stage.blocks):
                forks = forked is not None and position == last and bool(fork_targets)
                for path in block_targets:
                    make = forked if forks and path in fork_targets else single
                    _replace(block, path, lambda linear, make=make: make(linear, index))  # noqa: B023 (called at once)
                if forks:
                    stage.blocks[position] = ForkedBlock(block)
            if index > 0 and MERGING_LINEAR in targets:
                # timm's stage i starts with the merging that ends the paper's stage i - 1, whose rank and scale it gets
                _replace(stage.downsample, MERGING_LINEAR, lambda linear: single(linear, index - 1))  # noqa: B023


def _replace(module: nn.Module, path: str, make: Callable[[nn.Linear], nn.Module]) -> None:
    parent, _, name = path.rpartition(".")
    owner = module.get_submodule(parent)
    setattr(owner, name, make(getattr(owner, name)))


def _run_blocks(
    blocks: nn.Sequential, x: Tensor, tasks: Sequence[str], leave: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor | None]:
    for block in blocks[:-1]:
        x = block(x)
    last = blocks[-1]
    return last(x, tasks, leave) if isinstance(last, ForkedBlock) else (last(x), None)


def _leave(merging: nn.Module, projection: Tensor | None, x_tasks: Tensor) -> Tensor:
    """What becomes of the tasks' streams (T, B, H, W, C) after the last block: patch merging, whose weights are shared.

    With a ``projection`` (T, c, 2C) it follows at once, and the two matrices are multiplied first: c · 4C numbers
    instead of 2C · 4C, where c may be a tenth of 2C.
    """
    if isinstance(merging, nn.Identity):
        return x_tasks if projection is None else _matmul(x_tasks, projection)
    if projection is None:
        return merging(x_tasks.flatten(0, 1)).unflatten(0, x_tasks.shape[:2])
    norm, reduction = merging.norm, merging.reduction
    x_tasks = _neighbours(x_tasks)  # (T, B, H/2, W/2, 4C)
    x_tasks = F.layer_norm(x_tasks, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    if not isinstance(reduction, LoRALinear):
        return _matmul(x_tasks, projection @ reduction.weight)
    features = _matmul(x_tasks, projection @ reduction.linear.weight)
    if reduction.merged:
        return features
    low = F.linear(reduction.dropout(x_tasks), reduction.lora_ta_A)
    return features + _matmul(low, projection @ (reduction.scale * reduction.lora_ta_B))


def _matmul(x_tasks: Tensor, matrices: Tensor) -> Tensor:
    """(T, ..., in) times each task's (out, in)."""
    tasks = len(matrices)
    flat = torch.bmm(x_tasks.reshape(tasks, -1, x_tasks.shape[-1]), matrices.transpose(1, 2))
    return flat.unflatten(1, x_tasks.shape[1:-1])


def _neighbours(x: Tensor) -> Tensor:
    """The four tokens that become one, side by side, in timm's order: (..., H, W, C) to (..., H/2, W/2, 4C)."""
    x = F.pad(x, (0, 0, 0, x.shape[-2] % 2, 0, x.shape[-3] % 2))
    x = x.unflatten(-2, (-1, 2)).unflatten(-4, (-1, 2))  # (..., H/2, 2, W/2, 2, C)
    return x.movedim(-4, -2).flatten(-3)


def parameter_group(name: str) -> str:
    """The group of a backbone parameter by its name: a key of ``PARAMETER_GROUPS``, or ``lora``."""
    if "lora_" in name:
        return "lora"
    return next(group for group, piece in PARAMETER_GROUPS.items() if piece in name)


def check_targets(targets: Sequence[str]) -> None:
    """Raise ``ValueError`` for a target that no layer answers to."""
    unknown = [name for name in targets if name not in TARGETS]
    if unknown or not targets:
        given = ", ".join(map(repr, unknown)) or "an empty list"
        raise ValueError(f"Adapter targets: {given} matches no layer of a Swin. Targets: {', '.join(TARGETS)}.")


def check_image_size(given: Sequence[int], built_for: Sequence[int]) -> None:
    """Raise ``ValueError`` when images are not of the model's size, with the call that mends it."""
    if tuple(given) != tuple(built_for):
        raise ValueError(
            f"The images are {given[0]}x{given[1]} but the model was built for {built_for[0]}x{built_for[1]} pixels: "
            f"resize the images, or build the model with img_size=({given[0]}, {given[1]})."
        )


def per_stage(value: float | Sequence[float], num_stages: int, what: str) -> tuple[float, ...]:
    """One number per stage out of one number or a sequence of ``num_stages``; anything else is a ``ValueError``."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * num_stages
    if len(values) != num_stages:
        raise ValueError(f"{what} is one number or one per stage: the backbone has {num_stages} stages, got {values}.")
    return values


def per_task_and_stage(
    value: float | Sequence[float] | Mapping[str, float | Sequence[float]],
    tasks: Sequence[str],
    num_stages: int,
    what: str,
) -> dict[str, tuple[float, ...]]:
    """``{task: one number per stage}`` out of one number, one per stage, or a mapping from tasks to either."""
    if not isinstance(value, Mapping):
        value = dict.fromkeys(tasks, value)
    if set(value) != set(tasks):
        raise ValueError(f"{what} needs one entry per task ({', '.join(tasks)}), got {', '.join(value) or 'none'}.")
    return {task: per_stage(value[task], num_stages, f"{what}[{task!r}]") for task in tasks}
