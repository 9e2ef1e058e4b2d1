"""Which slides there are."""

from mtlora_lite.gallery import charts, pictures
from mtlora_lite.gallery.slides import Slide

_SLIDES = (
    Slide(
        "fork", "One pass, and a stream per task",
        "The shared stream runs through every block. In the last block of a stage it forks, after the attention, into "
        "a stream per task, which ends in one of the four maps of this task. Blocks and tasks are those of the "
        "committed model, the pictures are its own.", pictures.fork,
    ),
    Slide(
        "predictions", "Six predictions from one pass",
        "Two scenes with people that the committed model has not been trained on: labels above, predictions below. "
        "Grey stripes: no label.", pictures.predictions,
    ),
    Slide(
        "parameters", "What MTLoRA trains of a Swin-T, four tasks",
        "The paper's six configurations, counted. Other: norms, patch embedding and merging, relative positions.",
        charts.trained_parameters,
    ),
    Slide(
        "cost", "What a further task costs",
        "Swin-T at 448 pixels, rank 64, private rank 4, on one core, relative to timm's plain backbone; from the "
        "records in `data/benchmarks/`. A pass for each is n times that of one task.", charts.further_tasks,
    ),
    Slide(
        "gains", "Five ways to train on rendered scenes",
        "Δm over decoders only, with a paired bootstrap over images and seeds (95 %); three seeds, 200 scenes; from "
        "`data/study.json`.", charts.gains,
    ),
    Slide(
        "methods", "What methods gain on rendered scenes, over what they train",
        "Δm with its 95 % interval; ranks of one method are joined, as are VPT (above) and deep VPT. The terms are in "
        "`data/results/methods/report.md`.",
        charts.methods,
    ),
    Slide(
        "published", "Published results on PASCAL-Context",
        "Swin-T, the paper's four tasks: Δm over single-task models as printed. Hollow: not checked "
        "against the paper.", charts.in_print,
    ),
    Slide(
        "spectra", "How many directions the updates use",
        "The updates of the committed model: their singular values, and the effective rank of each.",
        charts.adapter_spectra,
    ),
)  # fmt: skip


def slides() -> list[Slide]:
    """Every slide."""
    return list(_SLIDES)
