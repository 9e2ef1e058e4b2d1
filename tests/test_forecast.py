"""A forecast counts what a run does, measures what its images take, and leaves the run to be begun."""

import time

import pytest
import torch

import mtlora_lite as ml
from mtlora_lite import forecast as forecasting
from mtlora_lite.config import TrainConfig
from mtlora_lite.forecast import Forecast, forecast

RUN = {
    "tasks": ("sal", "depth"), "img_size": 64, "train_count": 10, "val_count": 3, "epochs": 3, "batch_size": 4,
    "eval_every": 2, "pretrained": False, "decoder_options": {"expansion": 1}, "trackers": (),
    "options": {"rank": 3, "task_rank": {"sal": 1, "depth": 2}, "scale": 3.0},
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return TrainConfig(**RUN, out=tmp_path_factory.mktemp("forecast") / "run")


@pytest.fixture(scope="module")
def bill(config, cache):
    found = forecast(config)
    assert not config.out.exists()
    return found


def test_it_counts_what_the_run_then_does(config, bill):
    ml.train(config)
    steps, scored = ((config.out / name).read_text().splitlines() for name in ("log.jsonl", "evaluations.jsonl"))
    assert bill.steps == len(steps) == 6
    assert bill.trained == 6 * 4
    assert bill.scored == 3 * len(scored) == 3 * 2  # after two epochs, and at the end


def test_a_sample_stands_for_the_whole(config):
    bill = forecast(config, train_images=4998, val_images=5105, rounds=1)
    assert bill.steps == 3 * (4998 // 4)
    assert bill.scored == 2 * 5105


@pytest.mark.parametrize(
    ("epochs", "eval_every", "evaluations"), [(300, 5, 60), (7, 5, 2), (None, None, 1), (4, 5, 1), (5, 5, 1)]
)
def test_evaluations_are_those_of_every_so_many_epochs_and_the_last(epochs, eval_every, evaluations):
    config = TrainConfig(**RUN | {"epochs": epochs, "eval_every": eval_every})
    assert forecasting._evaluations(config, config.num_steps(4998), 4998) == evaluations


def test_hours_and_memory_add_up():
    bill = Forecast(10, 80, 90, training=36.0, reading=9.0, scoring=4.0, image_bytes=5.0, fixed_bytes=7)
    assert bill.hours() == {"reading": 0.2, "training": 0.8, "scoring": 0.1}
    assert bill.memory(32) == 167


def test_times_are_measured_and_threads_put_back(config, monkeypatch):
    threads = torch.get_num_threads()
    step = forecasting.Trainer.step
    slow = forecast(config, rounds=1).training + 0.2

    def busy(*arguments):
        end = time.process_time() + 2 * 0.4  # for two images
        while time.process_time() < end:
            pass
        return step(*arguments)

    monkeypatch.setattr(forecasting.Trainer, "step", busy)
    assert forecast(config, rounds=1).training > slow
    assert torch.get_num_threads() == threads


def test_memory_is_that_of_weights_gradients_averages_and_what_a_step_keeps(config, bill):
    trained, frozen = ml.parameter_report(ml.build_model(
        backbone=config.backbone, tasks=config.tasks, img_size=64, pretrained=False,
        decoder_options=config.decoder_options, **config.options,
    )).loc["total"]  # fmt: skip
    assert bill.fixed_bytes == 4 * (4 * trained + frozen)
    larger = forecast(TrainConfig(**RUN | {"img_size": 128}, out=config.out), rounds=1)
    assert larger.image_bytes == pytest.approx(4 * bill.image_bytes, rel=0.1)
