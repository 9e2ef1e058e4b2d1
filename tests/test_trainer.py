"""Steps: what makes them cheaper changes nothing, what averages them averages, and what fails leaves no trace."""

import dataclasses
import math
import pickle

import pytest
import torch

import mtlora_lite as ml
from mtlora_lite.batches import Draws, training_loader
from mtlora_lite.checkpoints import newest
from mtlora_lite.config import TrainConfig, training_set, validation_set
from mtlora_lite.engine import train
from mtlora_lite.evaluation import evaluate
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.records import as_json
from mtlora_lite.trainer import Trainer, connect

TINY = {
    "tasks": ("semseg", "depth"), "img_size": 64, "train_count": 12, "val_count": 4, "steps": 4, "batch_size": 4,
    "pretrained": False, "options": {"rank": 3, "task_rank": {"semseg": 1, "depth": 2}, "scale": 3.0, "dropout": 0.2},
    "drop_path": 0.3, "decoder_options": {"expansion": 1}, "lr": 5e-3,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


def trainer_and_batches(**options):
    config = TrainConfig(**TINY | options)
    trainer = Trainer(config, connect(config.precision))
    images = training_set(config)
    draws = Draws(len(images), range(config.steps), config.batch_size, config.accumulate, config.seed)
    return trainer, iter(training_loader(images, draws))


def test_activation_checkpointing_changes_no_bit(tmp_path):
    """Neither of the losses nor of the model, with dropout and drop path on, and the model comes back as it was."""
    plain = train(TrainConfig(**TINY, out=tmp_path / "plain"))
    twice = train(TrainConfig(**TINY, checkpointing=True, out=tmp_path / "twice"))
    assert twice.log == plain.log
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, twice.model.state_dict()[name]), name
    assert all("forward" not in vars(module) for module in twice.model.modules())


def test_activation_checkpointing_keeps_fewer_activations():
    """Counted as what autograd saves for the backward pass."""
    saved = {}
    for checkpointing in (False, True):
        trainer, batches = trainer_and_batches(checkpointing=checkpointing)
        image, sizes = next(batches)["image"], []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            trainer.model(image)
        saved[checkpointing] = sum(sizes)
    assert saved[True] < 0.7 * saved[False]


def test_the_moving_average_is_that_of_the_weights_and_is_what_is_kept(tmp_path):
    trainer, batches = trainer_and_batches(ema=0.6)
    names = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    expected = None
    for step in range(1, 5):
        trainer.step(step, 4, [next(batches)])
        now = {name: trainer.model.get_parameter(name).detach().clone() for name in names}
        expected = now if expected is None else {n: 0.6 * expected[n] + 0.4 * now[n] for n in names}
    for name in names:
        torch.testing.assert_close(trainer.judged.get_parameter(name), expected[name])
    for name, value in trainer.model.named_buffers():  # frozen tables and statistics are not averaged
        assert torch.equal(value, trainer.judged.get_buffer(name)), name

    config = TrainConfig(**TINY, ema=0.6, out=tmp_path)
    result = train(config)
    kept = MultiTaskModel.from_pretrained(tmp_path / "model")
    raw = newest(tmp_path / "checkpoints").tensors("weights.safetensors")
    for name in names:
        torch.testing.assert_close(kept.get_parameter(name), expected[name])
        torch.testing.assert_close(raw[name], now[name])
        assert torch.equal(result.model.get_parameter(name), kept.get_parameter(name))
    images = validation_set(config)
    assert as_json(evaluate(kept, images, batch_size=4)) == as_json(result.metrics)


def test_half_precision_trains_alike_and_is_for_where_it_exists(tmp_path):
    full = train(TrainConfig(**TINY, out=tmp_path / "fp32"))
    half = train(TrainConfig(**TINY, precision="bf16", out=tmp_path / "bf16"))
    assert half.log != full.log
    assert half.log[0]["total"] == pytest.approx(full.log[0]["total"], rel=0.02)
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    assert train(TrainConfig(**TINY, out=tmp_path / "again")).log == full.log  # the precision of one run is its own
    with pytest.raises(ValueError, match="fp16 needs a GPU, and there is none here: choose fp32 or bf16"):
        train(TrainConfig(**TINY, precision="fp16", out=tmp_path / "fp16"))
    with pytest.raises(ValueError, match=r"Unknown precision 'fp8'\. There are: fp32, bf16, fp16"):
        TrainConfig(precision="fp8")
    with pytest.raises(ValueError, match="save_every is at least 1, not 0"):
        TrainConfig(save_every=0)
    with pytest.raises(ValueError, match="ema is the decay of a moving average, from 0 to below 1, not 1"):
        TrainConfig(ema=1)


def test_a_launcher_can_hand_a_run_to_other_processes():
    function, config = pickle.loads(pickle.dumps((ml.train, TrainConfig(**TINY))))
    assert (function, config) == (train, TrainConfig(**TINY))


def test_a_step_that_fails_leaves_the_state_before_it(tmp_path):
    """So the checkpoint that a failed run leaves fails again, at the same step and on the same images."""
    config = TrainConfig(**TINY | {"steps": 12, "lr": 1e8}, ema=0.5, accumulate=2, out=tmp_path)
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) on the images") as first:
        train(config)
    before = newest(tmp_path / "checkpoints")
    assert f"The state before step {before.state['step'] + 1} is in {before.folder}." in str(first.value)
    weights = before.tensors("weights.safetensors")
    statistics = [value for name, value in weights.items() if "running_" in name]
    assert statistics
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == before.state["step"]
    with pytest.raises(FloatingPointError) as second:
        train(dataclasses.replace(config, resume=True))
    assert str(second.value) == str(first.value)


def test_memory_that_does_not_suffice_is_a_sentence_and_the_run_is_saved(tmp_path, monkeypatch):
    calls = []

    def forward(self, images, tasks=None):
        calls.append(len(images))
        if len(calls) == 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(self, images, tasks)

    original = MultiTaskModel.forward
    config = TrainConfig(**TINY, accumulate=2, out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskModel, "forward", forward)
        with pytest.raises(MemoryError) as stopped:
            train(config)
    assert "does not hold a pass of 2 image(s) at 64 pixels: raise accumulate (now 2), switch" in str(stopped.value)
    assert "precision bf16 or a smaller img_size" in str(stopped.value)
    assert newest(tmp_path / "checkpoints").state["step"] == 2
    resumed = train(dataclasses.replace(config, resume=True))
    assert resumed.log == train(dataclasses.replace(config, out=tmp_path / "other")).log
    assert all(math.isfinite(record["total"]) for record in resumed.log)
