"""A run in a thread: what it shows, that watching changes nothing, and how it stops, goes on and fails."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from mtlora_lite import live
from mtlora_lite.config import TrainConfig, build_from_config
from mtlora_lite.engine import train
from mtlora_lite.live import LiveRun, State, held_out, live_figure, next_folder
from mtlora_lite.tasks import TASKS
from mtlora_lite.viz import colorize, depth_limits, read_logits

PICKED = ("semseg", "depth")
TINY = {
    "tasks": PICKED, "img_size": 64, "train_count": 8, "val_count": 2, "steps": 5, "batch_size": 4, "pretrained": False,
    "options": {"rank": (3, 2, 1, 2), "task_rank": {"semseg": 2, "depth": 1}, "scale": 1.7, "dropout": 0.1},
    "decoder_options": {"expansion": 1}, "trackers": (),
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def _look_always(monkeypatch):
    monkeypatch.setattr(live, "EVERY", 0.0)
    monkeypatch.setattr(live, "SHARE", 1.0)


@pytest.fixture(scope="module")
def plain(cache, tmp_path_factory):
    """The same run, not watched by anybody."""
    return train(TrainConfig(**TINY, out=tmp_path_factory.mktemp("plain")))


@pytest.fixture
def batch():
    return held_out(TrainConfig(**TINY), (1, 0))


@pytest.fixture
def make(tmp_path, batch):
    """A function that makes a run, in a folder of its own."""
    return lambda on_change=None, out="run", **options: LiveRun(
        TrainConfig(**TINY | options, out=tmp_path / out), batch, on_change
    )


def trained(folder):
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_run_that_is_watched_is_the_run_that_is_not(make, plain):
    seen = []
    run = make(lambda run: seen.append((run.state, len(run.log), {t: v.clone() for t, v in run.logits.items()})))
    assert (run.state, run.status()) == (State.READY, "")
    run.start()
    assert run.wait() == State.FINISHED
    assert run.log == run.result.log == plain.log
    assert trained(run.config.out) == trained(plain.directory)
    assert [state for state, _, _ in seen] == [State.RUNNING] * 5 + [State.FINISHED]
    assert [steps for _, steps, _ in seen] == [1, 2, 3, 4, 5, 5]
    pictures = [logits["depth"] for _, _, logits in seen]
    assert all(not torch.equal(*pair) for pair in pairwise(pictures[:5]))
    with torch.inference_mode():
        expected = plain.model(run.held_out["image"])
    torch.testing.assert_close(run.logits, expected)
    assert run.logits["semseg"].shape == (2, 21, 64, 64)


def test_the_finished_run_says_what_it_scores_and_where_it_lies(make):
    run = make(steps=1)
    run.start()
    run.wait()
    scores = json.loads((run.config.out / "metrics.json").read_text())["metrics"]
    assert run.status() == (
        f"Finished after 1 steps: Semantic segmentation {scores['semseg']['mIoU']:.1f} %, "
        f"Depth {scores['depth']['rmse']:.1f} m. More in {run.config.out}/report.md"
    )
    with pytest.raises(RuntimeError, match="is finished"):
        run.start()


def test_it_stops_after_a_step_and_goes_on_as_if_it_had_not(make, plain):
    def stop_once(run):
        said.append(run.status())
        if len(run.log) == 2:
            run.stop()

    said = []
    run = make(stop_once)
    run.start()
    assert run.wait() == State.STOPPED
    assert len(run.log) == 3  # the step that was under way, or came next, is finished
    assert said[0] == "Step 1 of 5"
    assert "Stopping" in said[2]
    assert run.status().startswith("Stopped after step 3 of 5; everything is saved.")
    assert run.status().endswith(f"train --config {run.config.out}/config.json --resume")
    assert [path.name for path in (run.config.out / "checkpoints").iterdir()]
    run.start()
    assert run.wait() == State.FINISHED
    assert run.log == plain.log
    assert trained(run.config.out) == trained(plain.directory)


def test_what_goes_wrong_in_the_thread_is_said_in_one_line_and_the_next_run_can_start(make):
    first, told = make(steps=1), []
    first.start()
    first.wait()
    again = make(lambda run: told.append(run.status()), steps=1)
    again.start()
    assert again.wait() == State.FAILED
    assert told == [again.status()]
    assert told[0].startswith("The run has failed: ValueError: ")
    assert "holds a run already" in told[0]
    assert "\n" not in told[0]
    other = make(steps=1, out="other")
    other.start()
    assert other.wait() == State.FINISHED


def test_there_is_one_run_at_a_time(make):
    tried = []

    def start_more(run):
        for each in (run, other):
            with pytest.raises(RuntimeError) as error:
                each.start()
            tried.append(str(error.value))
        run.on_change = lambda run: None

    run, other = make(start_more, steps=1), make(out="other")
    run.start()
    assert run.wait() == State.FINISHED
    assert tried == [
        "This run is running: it cannot be started.",
        "Another run is training in this process: stop it, or wait for its end.",
    ]
    assert (other.state, other.log, other.config.out.exists()) == (State.READY, [], False)


def test_it_counts_in_steps(make):
    with pytest.raises(ValueError, match="counts in steps"):
        make(epochs=1)


def test_a_run_in_a_thread_shows_nothing_of_its_own(make, capfd):
    run = make(steps=1)
    run.start()
    run.wait()
    assert "".join(capfd.readouterr()) == ""
    train(dataclasses.replace(run.config, out=run.config.out / "loud"))
    assert "train mtlora" in capfd.readouterr().err


def test_looking_takes_its_share_of_the_time_and_no_more(make, monkeypatch):
    """With a clock of its own: a look takes 2 seconds, a step 1."""
    monkeypatch.setattr(live, "SHARE", 0.25)
    clock = [100.0]

    def tick(seconds):
        clock[0] += seconds
        return clock[0]

    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live, "look", lambda model, images: tick(2.0) and {})
    seen = []
    run = make(lambda run: seen.append(len(run.log)), steps=20)
    for step in range(1, 21):
        tick(1.0)
        run._note({"step": step} | dict.fromkeys(("total", *PICKED), 1.0), None)
    assert seen == [1, 7, 13, 19, 20]  # 6 steps for 2 seconds, and the last one always


def test_parameters_are_those_of_the_model(make):
    run = make()
    numbers = [(p.numel(), p.requires_grad) for p in build_from_config(run.config).parameters()]
    assert run.parameters == (sum(n for n, learns in numbers if learns), sum(n for n, _ in numbers))


def test_every_run_gets_a_folder_of_its_own(tmp_path):
    assert next_folder(tmp_path / "new") == tmp_path / "new" / "1"
    (tmp_path / "1" / "checkpoints").mkdir(parents=True)
    (tmp_path / "2").mkdir()  # nothing in it
    assert next_folder(tmp_path) == tmp_path / "2"


def drawn(figure):
    """The mosaic of a figure, and its curves' axes."""
    *curves, mosaic = figure.axes
    return np.asarray(mosaic.images[0].get_array()), curves


def test_the_figure_shows_prediction_above_label_and_the_curves_so_far(batch):
    logits = {"semseg": torch.randn(2, 21, 64, 64), "depth": 5 + torch.randn(2, 1, 64, 64)}
    log = [{"step": step, "total": 9.0, "semseg": 3.0 / step, "depth": 2.0 + step} for step in (1, 2, 3)]
    mosaic, curves = drawn(live_figure(batch, ("depth", "semseg"), log, logits, steps=10, title="words"))
    side = mosaic.shape[0] // 4
    assert mosaic.shape[1] == 3 * side
    limits = depth_limits(batch["depth"])
    for column, task in enumerate(("depth", "semseg"), start=1):
        for index in range(2):
            prediction, label = (mosaic[row * side :, column * side :][:64, :64] for row in (2 * index, 2 * index + 1))
            assert np.array_equal(prediction, colorize(task, read_logits(task, logits[task][index]), limits))
            assert np.array_equal(label, colorize(task, batch[task][index], limits))
    for axes, task in zip(curves, ("depth", "semseg"), strict=True):
        values, mean = axes.lines
        assert to_rgb(values.get_color()) == to_rgb(mean.get_color()) == to_rgb(TASKS[task].color)
        assert list(values.get_ydata()) == [record[task] for record in log]
        assert axes.get_xlim() == (0, 10)
    assert [text.get_text() for text in curves[1].texts] == ["loss 3.00 → 1.00", "Semantic\nsegmentation"]


def test_before_the_first_look_there_are_labels_and_no_curve(batch):
    mosaic, curves = drawn(live_figure(batch, PICKED, steps=10))
    side = mosaic.shape[0] // 4
    assert (mosaic[:64, side : side + 64] == 245).all()
    assert np.array_equal(mosaic[side:, side:][:64, :64], colorize("semseg", batch["semseg"][0]))
    assert not any(axes.lines for axes in curves)
