"""A comparison in small: what is run, what is chosen on which split, and statistics that say what they mean."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.compare import (
    CompareConfig,
    Run,
    choose_lr,
    compare,
    format_table,
    image_states,
    tabulate,
    weighted_headline,
)
from mtlora_lite.config import Setting, validation_set
from mtlora_lite.evaluation import evaluate
from mtlora_lite.model import MultiTaskModel

TASKS = ("sal", "depth")
ROWS = ("decoders_only:random", "mtlora:random", "single_task:random")
SMALL = {
    "tasks": TASKS, "img_size": 64, "train_count": 8, "val_count": 6, "steps": 3, "batch_size": 4,
    "options": {"rank": 2, "task_rank": 2}, "decoder_options": {"expansion": 1}, "rows": ROWS, "baseline": ROWS[0],
    "lrs": (1e-3, 1e-2), "seeds": (0, 1), "jobs": 1, "replicates": 50,
}  # fmt: skip

pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.filterwarnings("error::UserWarning")]


def arguments(out):
    """The same on the command line."""
    numbers = ("img_size", "train_count", "val_count", "steps", "batch_size", "jobs", "replicates")
    options = [f"--{name.replace('_', '-')}={SMALL[name]}" for name in numbers]
    options += ["--tasks", *TASKS, "--rows", *ROWS, "--baseline", ROWS[0], "--lrs", "1e-3", "1e-2", "--seeds", "0", "1"]
    return [*options, "--options", "rank=2", "task_rank=2", "--decoder-options", "expansion=1", "--out", str(out)]


@pytest.fixture(scope="module")
def config(tmp_path_factory, cache):
    """The settings of a comparison that the command line has run."""
    config = CompareConfig(**SMALL, out=tmp_path_factory.mktemp("runs") / "compare")
    assert main(["compare", *arguments(config.out)]) == 0
    return config


@pytest.fixture(scope="module")
def table(config):
    return json.loads((config.out / "table.json").read_text())


@pytest.fixture(scope="module")
def model(config):
    return MultiTaskModel.from_pretrained(next(config.out.glob("mtlora*")) / "model")


@pytest.fixture(scope="module")
def scored(config):
    return validation_set(Run(ROWS[1], TASKS, 1e-3, 0).config(config))


def result_files(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


# ---------------------------------------------------------------------------------------------------------- what is run


def test_every_row_tries_every_rate_and_then_runs_its_own_on_every_seed(config, table):
    groups = {ROWS[0]: ["sal-depth"], ROWS[1]: ["sal-depth"], ROWS[2]: ["sal", "depth"]}
    expected = set()
    for row, tasks in ((row, tasks) for row, parts in groups.items() for tasks in parts):
        expected |= {(row, tasks, lr, 0) for lr in config.lrs}
        chosen = table["lr"][row if "-" in tasks else f"{row} {tasks}"]
        expected.add((row, tasks, chosen, 1))
    names = {f"{row.replace(':', '-')}-{tasks}-lr{lr:g}-seed{seed}" for row, tasks, lr, seed in expected}
    assert set(result_files(config.out)) == names
    assert len(names) == 4 * 3


def test_what_is_done_is_not_done_again(config, table):
    before = result_files(config.out)
    again = compare(config)
    assert result_files(config.out) == before
    assert json.loads((config.out / "table.json").read_text()) == table
    removed = config.out / sorted(before)[0]
    shutil.rmtree(removed)
    assert compare(config).equals(again)
    assert {name for name, time in result_files(config.out).items() if time != before[name]} == {removed.name}


def test_results_of_other_settings_are_not_taken_for_these(config):
    with pytest.raises(ValueError, match=r"was run with another steps and batch_size: choose another folder"):
        compare(CompareConfig(**SMALL | {"steps": 4, "batch_size": 2}, out=config.out))


def test_the_command_prints_the_table_of_what_is_there(config, table, capsys):
    assert main(["compare", *arguments(config.out)]) == 0
    printed = capsys.readouterr().out
    for row in ROWS:
        (line,) = (line for line in printed.splitlines() if line.startswith(row))
        values = table["rows"][row]
        assert f"{values['sal']:.1f} ± {values['sal std']:.1f}" in line
        assert f"{values['delta_m']:+.1f} [{values['delta_m low']:+.1f}, {values['delta_m high']:+.1f}]" in line


# ------------------------------------------------------------------------------------------------ how rates are chosen


def test_the_rate_is_chosen_on_val_and_not_on_test(config, tmp_path):
    """Rewrite both scores so that they disagree."""
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    for lr, val, test in ((1e-3, 10.0, 90.0), (1e-2, 20.0, 5.0)):
        path = Run(ROWS[1], TASKS, lr, 0).config(copied).out / "result.json"
        scores = {
            name: {"sal": {"mIoU": value}, "depth": {"rmse": 1.0}} for name, value in (("val", val), ("test", test))
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | scores))
    assert choose_lr(ROWS[1], TASKS, copied) == 1e-2


def test_a_metric_where_lower_is_better_counts_that_way(config, tmp_path):
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    for lr, rmse in ((1e-3, 3.0), (1e-2, 2.0)):
        path = Run(ROWS[2], ("depth",), lr, 0).config(copied).out / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"val": {"depth": {"rmse": rmse}}}))
    assert choose_lr(ROWS[2], ("depth",), copied) == 1e-2


def test_what_a_comparison_has_of_its_own_is_no_setting_of_its_runs():
    """Or a number of runs at a time would be taken for a number of loader processes."""
    own = CompareConfig.__annotations__.keys()
    assert not own & {field.name for field in dataclasses.fields(Setting)}


# ------------------------------------------------------------------------------------------------------- the statistics


def test_scores_of_images_add_up_to_the_score_of_the_split(model, scored):
    states, scores = image_states(model, scored)
    assert scores == evaluate(model, scored)
    assert all(len(values) == len(scored) for named in states.values() for values in named.values())
    metrics = ml.build_metrics(TASKS, protocol="standard")
    whole = ml.headline(evaluate(model, scored))
    assert weighted_headline(metrics, states, np.ones(len(scored))) == pytest.approx(whole, rel=1e-6)


def test_an_image_drawn_twice_counts_twice(model, scored):
    states, _ = image_states(model, scored)
    metrics = ml.build_metrics(TASKS, protocol="standard")
    weights = np.array([2, 0, 1, 0, 0, 3])
    scored.ids = [image for image, weight in zip(list(scored.ids), weights, strict=True) for _ in range(weight)]
    whole = ml.headline(evaluate(model, scored, batch_size=1))
    assert weighted_headline(metrics, states, weights) == pytest.approx(whole, rel=1e-6)


def states_like(scores, seeds=2, images=40, spread=0.0, seed=0):
    """States of depth alone in which image i has a given squared error over one pixel."""
    rng = np.random.default_rng(seed)
    errors = scores * np.exp(spread * rng.standard_normal((seeds, images)))
    blank = {"within": np.zeros((images, 3)), "log_squares": np.zeros((images, 1)), "pixels": np.ones((images, 1))}
    return [{"depth": blank | {"squares": row[:, None] ** 2}} for row in errors]


def table_of(states, **changes):
    config = CompareConfig(tasks=("depth",), rows=tuple(states), baseline=next(iter(states)), seeds=(0, 1), **changes)
    return tabulate(states, config)


def test_equal_rows_differ_by_nothing_at_all():
    one = states_like(2.0, spread=0.5)
    table = table_of({"decoders_only": one, "mtlora": one}, replicates=30)
    assert (table[["delta_m", "delta_m low", "delta_m high"]] == 0).all(axis=None)
    assert table.loc["mtlora", "depth"] == table.loc["decoders_only", "depth"]


def test_images_are_drawn_together_for_all_rows():
    """One row errs by a tenth less on every image: whatever is drawn, the gain is the same."""
    base = states_like(2.0, spread=0.5)
    better = [{"depth": named["depth"] | {"squares": 0.81 * named["depth"]["squares"]}} for named in base]
    table = table_of({"decoders_only": base, "mtlora": better}, replicates=30)
    assert table.loc["mtlora", ["delta_m", "delta_m low", "delta_m high"]].tolist() == pytest.approx([10, 10, 10])


def test_intervals_hold_what_is_observed_and_narrow_with_more_images():
    widths = []
    for images in (20, 500):
        states = {"decoders_only": states_like(2.0, images=images, spread=0.5),
                  "mtlora": states_like(1.8, images=images, spread=0.5, seed=1)}  # fmt: skip
        row = table_of(states, replicates=200).loc["mtlora"]
        assert row["delta_m low"] < row["delta_m"] < row["delta_m high"]
        widths.append(row["delta_m high"] - row["delta_m low"])
    assert widths[0] > 2 * widths[1]


def test_the_interval_is_that_of_the_ratio_of_means():
    """Against a bootstrap written down for this one metric, rmse, without the package's meters."""
    states = {"decoders_only": states_like(2.0, spread=0.4), "mtlora": states_like(1.7, spread=0.4, seed=1)}
    row = table_of(states, replicates=600).loc["mtlora"]
    squares = {name: np.array([named["depth"]["squares"][:, 0] for named in runs]) for name, runs in states.items()}
    rng, gains = np.random.default_rng(99), []
    for _ in range(3000):
        images, seeds = rng.integers(0, 40, 40), rng.integers(0, 2, 2)
        rmse = {name: np.sqrt(values[seeds][:, images].mean(1)).mean() for name, values in squares.items()}
        gains.append(100 * (1 - rmse["mtlora"] / rmse["decoders_only"]))
    low, high = np.percentile(gains, (2.5, 97.5))
    assert row["delta_m low"] == pytest.approx(low, abs=0.15 * (high - low))
    assert row["delta_m high"] == pytest.approx(high, abs=0.15 * (high - low))


def test_one_seed_has_no_spread_and_the_table_shows_none():
    states = {"decoders_only": states_like(2.0, seeds=1)}
    config = CompareConfig(tasks=("depth",), rows=("decoders_only",), seeds=(0,), replicates=5)
    table = tabulate(states, config)
    assert np.isnan(table.loc["decoders_only", "depth std"])
    text = format_table(table, config.tasks)
    assert "2.00" in text
    assert "nan" not in text
    assert "±" not in text
