"""Training and asking a language model, by the Trainer of transformers."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from mtlora_lite.lm.data import IGNORED, Encoding, Example
from mtlora_lite.names import check_numbers

SCHEDULES = ("linear", "cosine")


@dataclass(frozen=True)
class FitOptions:
    """How a language model is trained.

    Attributes:
        lr: peak learning rate; a linear warm-up leads to it, and a line or half a cosine down to zero.
        batch_size: examples per step, on each device.
        epochs: passes over the examples.
        steps: steps of training; if given, whatever the epochs are.
        warmup: steps of warm-up.
        schedule: linear or cosine.
        weight_decay: of the trained parameters.
        precision: fp32, bf16 (frozen weights too) or fp16.
        accumulate: passes that a step is split into, each of as many examples as the batch size says.
        checkpointing: compute activations twice, to need less memory.
        save_every: steps between checkpoints, beside the one at the end; 0 for one after every epoch.
        seed: of the order of the examples and of dropout.
    """

    lr: float = 3e-4
    batch_size: int = 16
    epochs: float = 3.0
    steps: int | None = None
    warmup: int = 100
    schedule: str = field(default="linear", metadata={"values": f"{{{','.join(SCHEDULES)}}}"})
    weight_decay: float = 0.0
    precision: str = "fp32"
    accumulate: int = 1
    checkpointing: bool = False
    save_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Say what cannot be, before anything is read or loaded."""
        least = {"batch_size": 1, "steps": 1, "warmup": 0, "accumulate": 1, "save_every": 0}
        check_numbers(self, least, positive=("lr", "epochs"))


def fit(
    model: nn.Module,
    encoding: Encoding,
    examples: Sequence[Example],
    options: FitOptions,
    out: Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train what is trainable of a model in place.

    Args:
        model: of transformers; with ``task_ids`` where adapted layers want them.
        encoding: how examples become tokens.
        examples: to train on, in any order.
        options: how.
        out: folder for checkpoints; without it there are none.
        resume: whether to go on from the newest checkpoint there.
        quiet: whether to show no progress.

    Returns:
        ``{"steps", "loss" (mean over the run), "seconds", "left_out" (examples whose answer was over the cutoff)}``.

    Raises:
        ValueError: the schedule is unknown, no example has an answer within the cutoff, there is no checkpoint to
            resume from, or one process sees several GPUs.
    """
    if options.schedule not in SCHEDULES:
        raise ValueError(f"Unknown schedule {options.schedule!r}. There are: {', '.join(SCHEDULES)}.")
    from transformers import PrinterCallback, Trainer

    rows = [encoding.encode(example) for example in tqdm(examples, "encode", disable=quiet or None, leave=False)]
    kept = [row for row in rows if any(label != IGNORED for label in row["labels"])]
    if not kept:
        raise ValueError(f"No answer of {len(rows)} examples is within the cutoff of {encoding.cutoff} tokens.")
    checkpoint = newest_checkpoint(out) if resume and out else None
    if resume and checkpoint is None:
        raise ValueError(f"There is no checkpoint in {out} to go on from: leave out --resume.")
    if options.checkpointing:  # its name in transformers is about to change
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    with tempfile.TemporaryDirectory() as nowhere:
        arguments = _arguments(options, str(out) if out else None, nowhere, quiet)
        use_cache = model.config.use_cache  # which Trainer turns off for good
        trainer = Trainer(model, arguments, data_collator=encoding.collate, train_dataset=kept)
        trainer.remove_callback(PrinterCallback)
        result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
        model.config.use_cache = use_cache
    model.eval()
    return {
        "steps": result.global_step,
        "loss": result.training_loss,
        "seconds": round(result.metrics["train_runtime"], 1),
        "left_out": len(rows) - len(kept),
    }


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint in a folder that Trainer has written to its end, which is its state, or None."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if path.stat().st_size]
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)


def _arguments(options: FitOptions, out: str | None, nowhere: str, quiet: bool) -> Any:
    """The same for the Trainer of transformers."""
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=out or nowhere,
        save_strategy="no" if out is None else "steps" if options.save_every else "epoch",
        save_steps=options.save_every or 500,
        save_total_limit=2,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulate,
        num_train_epochs=options.epochs,
        max_steps=options.steps or -1,
        learning_rate=options.lr,
        warmup_steps=options.warmup,
        lr_scheduler_type=options.schedule,
        weight_decay=options.weight_decay,
        bf16=options.precision == "bf16",
        fp16=options.precision == "fp16",
        use_cpu=not torch.accelerator.is_available(),  # bf16 is refused there unless a CPU is asked for
        seed=options.seed,
        logging_strategy="no" if quiet else "steps",
        logging_steps=10,
        disable_tqdm=quiet,
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    if arguments.n_gpu > 1:
        raise ValueError(
            f"One process cannot train on {arguments.n_gpu} GPUs: start it by torchrun --nproc-per-node "
            f"{arguments.n_gpu} -m mtlora_lite, or show it one GPU by CUDA_VISIBLE_DEVICES=0."
        )
    return arguments
