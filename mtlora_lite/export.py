"""A model in another form: from the paper's released checkpoints into ours, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mtlora_lite.model import MultiTaskModel
from mtlora_lite.official import load_official, save_official


@dataclass(frozen=True)
class ExportConfig:
    """Convert checkpoints of the MTLoRA paper's released code into this package's, or back.

    Attributes:
        from_official: checkpoint of the released code (.pth) to convert into a folder.
        checkpoint: folder of ours to convert into a file of the released code's layout.
        out: what to write: a folder, or the file (.pth).
        scale: factor of the shared updates, one per stage if they differ; it leaves no trace in a released checkpoint.
        task_scale: factor of each task's private update, if they differ from scale, TASK=FACTOR.
        combine: how shared and private updates meet; it leaves no trace either.
        img_size: side of the images in pixels.
    """

    out: Path = Path("runs/exported")
    from_official: Path | None = None
    checkpoint: Path | None = None
    scale: tuple[float, ...] = (4.0,)
    task_scale: Mapping[str, float] = field(default_factory=dict)
    combine: str = "matrix"
    img_size: int = 448


def export(config: ExportConfig) -> MultiTaskModel:
    """Convert, and return the model; ``ValueError`` unless exactly one of the two sources is given."""
    if (config.from_official is None) == (config.checkpoint is None):
        raise ValueError("Give what to convert: --from-official FILE.pth, or --checkpoint FOLDER (one of the two).")
    if config.checkpoint is not None:
        model = MultiTaskModel.from_pretrained(config.checkpoint)
        save_official(model, config.out)
        return model
    scale = config.scale[0] if len(config.scale) == 1 else config.scale
    model = load_official(
        config.from_official, scale=scale, task_scale=dict(config.task_scale) or None, combine=config.combine,
        img_size=config.img_size,
    )  # fmt: skip
    model.save_pretrained(config.out)
    return model
