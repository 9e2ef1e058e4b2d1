"""What all families of backbones share: a pyramid per task in one pass, and updates put into timm's own modules.

The shared stream runs through every block. In the last block of a stage it forks, after the (shared) attention::

    blocks 0 .. n-2      x ── attention ── proj ──(+)── fc1 ── fc2 ──(+)── x
    block n-1            x ── attention ─┬ proj ──(+)── fc1 ── fc2 ──(+)── x      to the next stage
                                         ├ proj ──(+)── fc1 ── fc2 ──(+)── x_1    features of task 1
                                         └ ...                              x_T    features of task T

The task streams are side outputs: they pass the patch merging that follows and end there. So features have strides
8/16/32/32 and the channels of the next stage. How the streams are computed at the price of little more than one is in
``fork``.

A family is a subclass: tables that say which layers are what, and three methods that say how timm's modules follow each
other. Maps are channels-last, (B, H, W, C), between them.

Source: MTLoRA, Agiza et al., CVPR 2024, arXiv 2403.20320, fig. 3.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.adapted import INSERTED
from mtlora_lite.backbones.fork import ForkedBlock, merge_patches, multiply
from mtlora_lite.lora import MTLoRALinear
from mtlora_lite.mtl_lora import TaskIds

COMMON_GROUPS = ("patch_embed", "rel_pos", "norms", "merging", "linears")  # of parameters; a family may lack some
LinearFactory = Callable[[nn.Linear, int], nn.Module]  # (layer, stage) -> adapted layer
Stage = tuple[nn.Module, Callable[[Tensor], Tensor]]  # with its ``blocks``, and the patch merging that follows it


class Backbone(nn.Module):
    """A timm model that gives every task its own four-level feature pyramid in one pass.

    As built it has one stream, so that all tasks get the same features; ``adapt`` inserts low-rank updates and forks.

    Args:
        model: a timm model of ``timm_class``, any size. Its head is not used.
        img_size: height and width of the images in pixels.

    Shapes: ``images (B, 3, H, W)`` to ``{task: [(B, C_i, H_i, W_i)] * 4}``.

    Attributes:
        title: what the family is called in sentences.
        timm_class: the class of timm's models of this family.
        other_names: patterns of timm names that begin as the family's do, but are of another class.
        final_norm: what timm's models call the norm after the last stage, which is not used here; None: there is none.
        takes_size: whether ``timm_class`` wants to know the size of the images.
        block_linears: {target: where that linear layer is in a block}, in the order of the block.
        fork_targets: those after attention, where task streams may have updates of their own.
        merging_linear: the target that is the linear layer of the patch merging; None where that has none.
        parameter_groups: what its parts are called in reports and in the ``train`` option of methods, by a regular
            expression; the first that is found in a parameter's name counts.
        forked_block: what the last block of a stage becomes.
        num_stages: number of stages.
        feature_channels: C_i of every level.
        width: channels of the first stage.
    """

    title: ClassVar[str]
    timm_class: ClassVar[type[nn.Module]]
    other_names: ClassVar[tuple[str, ...]] = ()
    final_norm: ClassVar[str | None] = "norm"
    takes_size: ClassVar[bool] = True
    block_linears: ClassVar[Mapping[str, str]]
    fork_targets: ClassVar[tuple[str, ...]] = ("proj", "fc1", "fc2")
    merging_linear: ClassVar[str | None] = None
    parameter_groups: ClassVar[Mapping[str, str]]
    forked_block: ClassVar[type[ForkedBlock]]

    def __init__(self, model: nn.Module, img_size: tuple[int, int]):
        super().__init__()
        self.img_size = tuple(img_size)
        dims = [info["num_chs"] for info in model.feature_info]
        self.num_stages, self.width = len(dims), dims[0]
        self.feature_channels = (*dims[1:], dims[-1])  # after patch merging; the last stage has none
        self.pass_tasks: tuple[str, ...] = ()  # that take a pass each; none: one pass serves all
        self.task_ids = TaskIds()  # of the passes that are under way

    # ------------------------------------------------------------------------------------- what a family has to say

    def _embed(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to the first stage's tokens (B, H/4, W/4, C)."""
        raise NotImplementedError

    def _stages(self) -> Iterable[Stage]:
        """Each stage, a module with ``blocks``, and the patch merging that follows it: (B, H, W, C) to (B, H/2, …)."""
        raise NotImplementedError

    def shape(self) -> dict[str, Any]:
        """The arguments of ``timm_class`` that build such a model again for the same image size; fit for JSON."""
        raise NotImplementedError

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        """A block with one stream, (B, H, W, C) to the same."""
        return block(x)

    def _product(self, merging: Callable, projection: Tensor, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        """Patch merging and a matrix of each task (T, c, C_i) in fewer operations than one after the other.

        None where there is no such short cut for maps like ``x``; else a function of streams (T, B, H, W, C).
        """
        return None

    # ------------------------------------------------------------------------------------------- what all have alike

    @classmethod
    def size_options(cls, img_size: tuple[int, int]) -> dict[str, Any]:
        """What ``timm_class`` has to be told of the size of the images."""
        return {"img_size": img_size} if cls.takes_size else {}

    @property
    def tasks_feed_shared(self) -> bool:
        """Whether the shared stream reads the task streams (``addition``), so that none of them may be left out."""
        return any(isinstance(module, MTLoRALinear) and module.combine == "addition" for module in self.modules())

    def blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """(index of the stage, block) of every block, forked ones too, in the order of computation."""
        for index, (stage, _) in enumerate(self._stages()):
            for block in stage.blocks:
                yield index, block

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
        if images.ndim != 4:
            raise ValueError(
                f"Images are a batch (B, 3, H, W), got {tuple(images.shape)}: one is given as image[None]."
            )
        check_image_size(images.shape[-2:], self.img_size)
        x = self._embed(images)  # (B, H/4, W/4, C)
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
                x = self._run(block, x)
            x, maps = self._end_stage(stage.blocks[-1], merging, x, tasks, projection)
            levels.append([features.permute(0, 3, 1, 2) for features in maps])  # (B, C_i, H_i, W_i) of each task
        return {task: list(maps) for task, maps in zip(tasks, zip(*levels, strict=True), strict=True)}

    def _end_stage(
        self, block: nn.Module, merging: Callable, x: Tensor, tasks: Sequence[str], projection: Tensor | None
    ) -> tuple[Tensor, Sequence[Tensor]]:
        """The last block of a stage and the patch merging after it: what goes on, and each task's features.

        What goes on is the shared stream, or after ``pass_per_task`` a stream per task, one after the other in a batch.
        """
        forks = isinstance(block, ForkedBlock)
        finish = self._product(merging, projection, x) if forks and projection is not None else None
        if finish is not None:
            x, maps = block(x, tasks, finish)
            return merging(x), maps
        x, x_tasks = block(x, tasks) if forks else (self._run(block, x), None)
        x, x_tasks = merge_patches(merging, x, x_tasks)
        if self.pass_tasks:
            x_tasks = x.unflatten(0, (len(tasks), -1))
        if x_tasks is None:  # one stream for all
            return x, [x] * len(tasks) if projection is None else [F.linear(x, matrix) for matrix in projection]
        return x, x_tasks if projection is None else multiply(x_tasks, projection)

    def pass_per_task(self, tasks: Sequence[str]) -> TaskIds:
        """Run a pass per task from now on; what is returned tells the layers inside which task a pass is for.

        During a call it holds the requested tasks as numbers in the order of ``tasks`` (T,); a layer's input has as
        many samples of each, one task after the other.
        """
        self.pass_tasks = tuple(tasks)
        return self.task_ids

    def adapt(self, targets: Sequence[str], single: LinearFactory, forked: LinearFactory | None = None) -> None:
        """Replace linear layers by adapted ones.

        Args:
            targets: which layers, out of ``targets()``.
            single: makes the adapted layer where there is one stream.
            forked: makes it in the last block of a stage, after attention; None keeps one stream everywhere.

        Raises:
            ValueError: a target matches no layer of the family.
        """
        self._check_targets(targets)
        paths = {name: path for name, path in self.block_linears.items() if name in targets}
        fork_targets = [name for name in self.fork_targets if name in targets] if forked else []
        entering = None  # timm's stage i starts with the merging that ends the paper's stage i - 1
        for index, (stage, merging) in enumerate(list(self._stages())):
            for position, block in enumerate(stage.blocks):
                forks = position == len(stage.blocks) - 1 and bool(fork_targets)
                for name, path in paths.items():
                    make = forked if forks and name in fork_targets else single
                    _replace(block, path, lambda linear, make=make: make(linear, index))  # noqa: B023 (called at once)
                if forks:
                    stage.blocks[position] = self.forked_block(block)
            if entering is not None and self.merging_linear in targets:
                _replace(entering, self.merging_linear, lambda linear: single(linear, index - 1))  # noqa: B023
            entering = merging

    @classmethod
    def targets(cls) -> tuple[str, ...]:
        """All layers that ``adapt`` knows: those of the blocks, and the patch merging's where it is a linear layer."""
        return (*cls.block_linears, *([cls.merging_linear] if cls.merging_linear else []))

    def _check_targets(self, targets: Sequence[str]) -> None:
        unknown = [name for name in targets if name not in self.targets()]
        if unknown or not targets:
            given = ", ".join(map(repr, unknown)) or "an empty list"
            known = ", ".join(self.targets())
            raise ValueError(f"Adapter targets: {given} matches no layer of a {self.title}. Targets: {known}.")

    @classmethod
    def parameter_group(cls, name: str) -> str:
        """The group of a parameter by its name: a key of ``INSERTED`` or of ``parameter_groups``."""
        if inserted := [group for group, piece in INSERTED.items() if piece in name]:
            return inserted[0]
        return next(group for group, pattern in cls.parameter_groups.items() if re.search(pattern, name))

    @classmethod
    def check_groups(cls, groups: Iterable[str]) -> None:
        """Raise ``ValueError`` for a group of parameters that neither all families have nor this one."""
        if unknown := [group for group in groups if group not in (*COMMON_GROUPS, *cls.parameter_groups)]:
            known = ", ".join(cls.parameter_groups)
            raise ValueError(f"Unknown group {unknown[0]!r} in train. Groups of a {cls.title}: {known}.")


def _replace(module: nn.Module, path: str, make: Callable[[nn.Linear], nn.Module]) -> None:
    parent, _, name = path.rpartition(".")
    owner = module.get_submodule(parent)
    setattr(owner, name, make(getattr(owner, name)))


def check_image_size(given: Sequence[int], built_for: Sequence[int]) -> None:
    """Raise ``ValueError`` when images are not of the model's size, with the call that mends it."""
    if tuple(given) != tuple(built_for):
        raise ValueError(
            f"The images are {given[0]}x{given[1]} but the model was built for {built_for[0]}x{built_for[1]} pixels: "
            f"resize the images, or build the model with img_size=({given[0]}, {given[1]})."
        )
