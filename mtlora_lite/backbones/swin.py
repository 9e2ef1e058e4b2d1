"""Swin Transformer for many tasks: timm's own modules, adapted in place.

What this file knows and no other file does: how timm's Swin is built, that it computes in NHWC, and that timm
puts a stage's patch merging at the START of the next stage (the original code has it at the end).

The shared stream runs through every block. In the last block of a stage it forks, after the (shared) attention:

    blocks 0 .. n-2      x ── norm1 ── attention ── proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x
    block n-1            x ── norm1 ── attention ─┬ proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x      to the next stage
                                                  ├ proj ──(+)── norm2 ── fc1 ── fc2 ──(+)── x_1    features of task 1
                                                  └ ...                                      x_T    features of task T

The task streams are side outputs: they pass the patch merging that follows and end there. So features have strides
8/16/32/32 and 2C/4C/8C/8C channels. How the streams are computed at the price of little more than one is in ``fork``.

Sources: Swin, Liu et al., ICCV 2021, arXiv 2103.14030; MTLoRA, Agiza et al., CVPR 2024, arXiv 2403.20320, fig. 3.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from mtlora_lite.adapted import INSERTED
from mtlora_lite.backbones.fork import ForkedBlock, merge_and_project, merge_patches, multiply, product_pays
from mtlora_lite.lora import MTLoRALinear
from mtlora_lite.mtl_lora import TaskIds

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

LinearFactory = Callable[[nn.Linear, int], nn.Module]  # (layer, stage) -> adapted layer


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
        self.pass_tasks: tuple[str, ...] = ()  # that take a pass each; none: one pass serves all
        self.task_ids = TaskIds()  # of the passes that are under way

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
        """One pass over the images for all of ``tasks``, or after ``pass_per_task`` one for each.

        Args:
            images: (B, 3, H, W).
            tasks: whose features to compute.
            projections: per level a matrix of each task, (T, c_i, C_i), that the tasks' features are to be multiplied
                by; the maps then have c_i channels. The product costs less than features and multiplication.
        """
        check_image_size(images.shape[-2:], self.img_size)
        x = self.patch_embed(images)  # (B, H/4, W/4, C)
        if not self.pass_tasks:
            return self._pyramids(x, tasks, projections)
        ids = torch.tensor([self.pass_tasks.index(task) for task in tasks], device=x.device)
        with self.task_ids.of(ids):  # the passes are made as one of T·B images, task by task
            return self._pyramids(x.repeat(len(tasks), 1, 1, 1), tasks, projections)

    def _pyramids(
        self, x: Tensor, tasks: Sequence[str], projections: Sequence[Tensor] | None
    ) -> dict[str, list[Tensor]]:
        levels = []
        for (stage, merging), projection in zip(self._stages(), projections or [None] * self.num_stages, strict=True):
            for block in stage.blocks[:-1]:
                x = block(x)
            x, maps = _end_stage(stage.blocks[-1], merging, x, tasks, projection, bool(self.pass_tasks))
            levels.append([features.permute(0, 3, 1, 2) for features in maps])  # (B, C_i, H_i, W_i) of each task
        return {task: list(maps) for task, maps in zip(tasks, zip(*levels, strict=True), strict=True)}

    def pass_per_task(self, tasks: Sequence[str]) -> TaskIds:
        """Run a pass per task from now on; what is returned tells the layers inside which task a pass is for.

        During a call it holds the requested tasks as numbers in the order of ``tasks`` (T,); a layer's input has as
        many samples of each, one task after the other.
        """
        self.pass_tasks = tuple(tasks)
        return self.task_ids

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


def _end_stage(
    block: nn.Module, merging: nn.Module, x: Tensor, tasks: Sequence[str], projection: Tensor | None, stacked: bool
) -> tuple[Tensor, Sequence[Tensor]]:
    """The last block of a stage and the patch merging after it: what goes on, and each task's features.

    What goes on is the shared stream, or (``stacked``) a stream per task, one after the other in the batch.
    """
    forks = isinstance(block, ForkedBlock)
    if forks and projection is not None and product_pays(merging, projection, x):
        x, maps = block(x, tasks, merge_and_project(merging, projection))
        return merging(x), maps
    x, x_tasks = block(x, tasks) if forks else (block(x), None)
    x, x_tasks = merge_patches(merging, x, x_tasks)
    if stacked:
        x_tasks = x.unflatten(0, (len(tasks), -1))
    if x_tasks is None:  # one stream for all
        return x, [x] * len(tasks) if projection is None else [F.linear(x, matrix) for matrix in projection]
    return x, x_tasks if projection is None else multiply(x_tasks, projection)


def parameter_group(name: str) -> str:
    """The group of a backbone parameter by its name: a key of ``INSERTED`` or of ``PARAMETER_GROUPS``."""
    return next(group for group, piece in (INSERTED | PARAMETER_GROUPS).items() if piece in name)


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
