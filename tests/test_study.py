"""A comparison in small: what is run, what is chosen on which split, and statistics that say what they mean."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.transforms import Bbox
from PIL import Image
from torch.utils.data import Dataset

import mtlora_lite as ml
from mtlora_lite.cli import main
from mtlora_lite.config import Setting, build_from_config, validation_set
from mtlora_lite.datasets import write_pascal_mt
from mtlora_lite.evaluation import evaluate
from mtlora_lite.methods import METHODS
from mtlora_lite.model import MultiTaskModel
from mtlora_lite.study.bootstrap import better, image_states, tabulate, weighted_headline
from mtlora_lite.study.cost import device_name
from mtlora_lite.study.figures import gains, pareto
from mtlora_lite.study.grid import choose_lr, compare
from mtlora_lite.study.rows import read_rows
from mtlora_lite.study.settings import CompareConfig, Run
from mtlora_lite.study.tables import Results, _page, format_table

TASKS = ("sal", "depth")
RANDOM = "@pretrained=false"
ROWS = tuple(f"{row}{RANDOM}" for row in ("decoders_only", "mtlora", "mtlora@rank=3", "single_task"))
SMALL = {
    "tasks": TASKS, "img_size": 64, "train_count": 8, "val_count": 6, "steps": 3, "batch_size": 4,
    "options": {"rank": 2, "task_rank": 2}, "decoder_options": {"expansion": 1}, "methods": ROWS, "baseline": ROWS[0],
    "lrs": (1e-3, 1e-2), "seeds": 2, "jobs": 1, "replicates": 10,
}  # fmt: skip

pytestmark = [pytest.mark.usefixtures("cache"), pytest.mark.filterwarnings("error::UserWarning")]


def arguments(out):
    """The same on the command line."""
    numbers = ("img_size", "train_count", "val_count", "steps", "batch_size", "jobs", "replicates")
    options = [f"--{name.replace('_', '-')}={SMALL[name]}" for name in numbers]
    options += ["--tasks", *TASKS, "--methods", *ROWS, "--baseline", ROWS[0], "--lrs", "1e-3", "1e-2", "--seeds", "2"]
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
    return validation_set(Run(config.rows[1], TASKS, 1e-3, 0).config(config))


def result_files(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}


# ---------------------------------------------------------------------------------------------------------- what is run


def test_every_method_tries_every_rate_and_its_rows_then_run_on_every_seed(config, table):
    """The second row of MTLoRA, of another rank, tries none: the rate is the method's."""
    expected = set()
    for index, row in enumerate(ROWS):
        for tasks in ["sal-depth"] if index < 3 else ["sal", "depth"]:
            chosen = table["lr"][row if "-" in tasks else f"{row} {tasks}"]
            expected |= {(row, tasks, lr, 0) for lr in config.lrs if index != 2}
            expected |= {(row, tasks, chosen, seed) for seed in (0, 1)}
    assert table["lr"][ROWS[2]] == table["lr"][ROWS[1]]
    names = {f"{row.replace('@', '-')}-{tasks}-lr{lr:g}-seed{seed}" for row, tasks, lr, seed in expected}
    assert set(result_files(config.out)) == names
    assert len(names) == 4 * 3 + 2


def test_what_is_done_is_not_done_again(config, table, capfd):
    before = result_files(config.out)
    again = compare(config)
    assert result_files(config.out) == before
    assert json.loads((config.out / "table.json").read_text()) == table
    removed = config.out / sorted(before)[0]
    shutil.rmtree(removed)
    capfd.readouterr()
    assert compare(config).scores.equals(again.scores)
    assert not re.search("train|evaluate", capfd.readouterr().err)  # the processes that train draw no bars
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


def test_what_may_differ_without_another_result_is_no_other_setting(config):
    """A folder that was moved, or a path written otherwise, is the same folder."""
    again = config.out.parent / ".." / config.out.parent.name / config.out.name
    moved = CompareConfig(**SMALL | {"workers": 1}, out=again)
    before = result_files(config.out)
    compare(moved)
    assert result_files(config.out) == before


def test_another_split_for_the_table_is_scored_and_nothing_is_trained_again(tmp_path):
    data = write_pascal_mt(tmp_path / "PASCAL_MT", {"train": 8, "val": 4, "test": 4}, size=64)
    lists = data / "ImageSets/Context"
    (lists / "others.txt").write_text("\n".join(reversed((lists / "val.txt").read_text().split()[:3])) + "\n")
    one = {"methods": ROWS[:1], "baseline": ROWS[0], "options": {}, "lrs": (1e-3,), "seeds": 1}
    config = CompareConfig(**SMALL | one | {"data": str(data)}, out=tmp_path / "runs")
    other = dataclasses.replace(config, table_split="others")
    first = compare(config).scores
    trained = {path: path.read_bytes() for name in ("log.jsonl", "model/*") for path in config.out.glob(f"*/{name}")}
    second = compare(other).scores
    assert {path: path.read_bytes() for path in trained} == trained
    assert not first.equals(second)
    run = Run(config.rows[0], TASKS, 1e-3, 0).config(config)
    held_out = validation_set(dataclasses.replace(run, val_split="others"))
    assert len(held_out) == 3
    expected = ml.headline(evaluate(MultiTaskModel.from_pretrained(run.out / "model"), held_out))
    assert {task: second.loc[ROWS[0], task] for task in TASKS} == pytest.approx(expected, rel=1e-5)
    assert compare(config).scores.equals(first)


# ------------------------------------------------------------------------------------------------ how rates are chosen


def test_the_rate_is_chosen_on_val_and_not_on_test(config, tmp_path):
    """Rewrite both scores so that they disagree."""
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    for lr, val, test in ((1e-3, 10.0, 90.0), (1e-2, 20.0, 5.0)):
        path = Run(config.rows[1], TASKS, lr, 0).config(copied).out / "result.json"
        scores = {
            name: {"sal": {"mIoU": value}, "depth": {"rmse": 1.0}} for name, value in (("val", val), ("test", test))
        }
        path.write_text(json.dumps(json.loads(path.read_text()) | scores))
    assert choose_lr(config.rows[1], TASKS, copied) == 1e-2


def test_a_metric_where_lower_is_better_counts_that_way(config, tmp_path):
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    for lr, rmse in ((1e-3, 3.0), (1e-2, 2.0)):
        path = Run(config.rows[3], ("depth",), lr, 0).config(copied).out / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"val": {"depth": {"rmse": rmse}}}))
    assert choose_lr(config.rows[3], ("depth",), copied) == 1e-2


def test_a_rate_at_which_the_loss_ran_away_is_kept_as_such_and_not_chosen(config, tmp_path):
    hot = CompareConfig(**SMALL | {"lrs": (1e18, 1e-3), "methods": ROWS[1:2], "baseline": ROWS[1], "seeds": 1},
                        out=Path(shutil.copytree(config.out, tmp_path / "copy")))  # fmt: skip
    results = compare(hot)
    assert results.lrs == {ROWS[1]: 1e-3}
    folder = Run(hot.rows[0], TASKS, 1e18, 0).config(hot).out
    assert "loss is nan on the images" in json.loads((folder / "result.json").read_text())["diverged"]
    before = result_files(hot.out)
    compare(hot)
    assert result_files(hot.out) == before
    with pytest.raises(ValueError, match=r"has scores for sal, depth at none of the rates 1e\+18: its loss ran away"):
        compare(dataclasses.replace(hot, lrs=(1e18,)))


def scored_at(config, row, scores):
    """Write scores of depth on the tuning split for the rates of a comparison: {rate: rmse}."""
    for lr, rmse in scores.items():
        path = Run(row, ("depth",), lr, 0).config(config).out / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"val": {"depth": {"rmse": rmse}}}))


@pytest.mark.parametrize(
    ("scores", "chosen"), [((None, 2.0), 1e-2), ((3.0, None), 1e-3), ((0.0, 2.0), 1e-3), ((2.0, 0.0), 1e-2)]
)
def test_a_score_that_does_not_exist_is_not_chosen_and_none_is_relative_to_zero(config, tmp_path, scores, chosen):
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    scored_at(copied, config.rows[3], dict(zip(config.lrs, scores, strict=True)))
    assert choose_lr(config.rows[3], ("depth",), copied) == chosen


def test_a_seed_that_ran_away_is_named(config, tmp_path):
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    lr = json.loads((config.out / "table.json").read_text())["lr"][ROWS[0]]
    path = Run(config.rows[0], TASKS, lr, 1).config(copied).out / "result.json"
    path.write_text(json.dumps({"diverged": "The loss of depth is not finite."}))
    said = rf"decoders_only\S* has no scores, as its loss ran away at the rate {lr:g} with seed 1: The loss of depth"
    with pytest.raises(ValueError, match=said):
        compare(copied)


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


COST = {"trainable": 1_234_567, "step ms": 1.4, "memory MB": 2.4, "predict ms": 3.4}


def states_like(scores, seeds=2, images=40, spread=0.0, seed=0):
    """States of depth alone in which image i has a given squared error over one pixel."""
    rng = np.random.default_rng(seed)
    errors = scores * np.exp(spread * rng.standard_normal((seeds, images)))
    blank = {"within": np.zeros((images, 3)), "log_squares": np.zeros((images, 1)), "pixels": np.ones((images, 1))}
    return [{"depth": blank | {"squares": row[:, None] ** 2}} for row in errors]


def table_of(states, **changes):
    config = CompareConfig(tasks=("depth",), methods=tuple(states), baseline=next(iter(states)), seeds=2, **changes)
    return tabulate(states, config)[0]


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
    config = CompareConfig(
        tasks=("depth",), methods=("decoders_only",), baseline="decoders_only", seeds=1, replicates=5
    )
    scores, better = tabulate(states, config)
    assert np.isnan(scores.loc["decoders_only", "depth std"])
    text = format_table(Results(scores, better, {"decoders_only": COST}, {}), config.tasks)
    assert "2.00" in text
    assert "1.23" in text
    assert "nan" not in text
    assert "±" not in text


def test_how_often_one_is_better_than_another():
    """A sure winner, and two that are the same run: a half each way."""
    one, best = states_like(2.0, spread=0.5), states_like(1.0, spread=0.5)
    states = {"decoders_only": one, "mtlora": one, "full": best}
    config = CompareConfig(tasks=("depth",), methods=tuple(states), baseline="decoders_only", seeds=2, replicates=40)
    better = tabulate(states, config)[1]
    assert better.loc["full", "mtlora"] == 1
    assert better.loc["decoders_only", "full"] == 0
    assert better.loc["mtlora", "decoders_only"] == better.loc["mtlora", "mtlora"] == 0.5


def test_a_draw_without_a_score_counts_for_neither():
    draws = pd.DataFrame({"one": [1.0, 2.0, np.nan, 3.0], "other": [0.0, 5.0, 1.0, 2.0]})
    share = better(draws)
    assert share.loc["one", "other"] == pytest.approx(2 / 3)
    assert share.loc["other", "one"] == pytest.approx(1 / 3)


def test_classes_are_those_of_the_data_set(tmp_path):
    """NYUD has 40: its labels were refused as PASCAL's 21."""

    class Rooms(Dataset):
        name = "nyud"

        def __len__(self):
            return 3

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            labels = torch.randint(0, 40, (1, 64, 64), generator=generator)
            return {"image": torch.randn(3, 64, 64, generator=generator), "semseg": labels, "meta": {"id": str(index)}}

    model = ml.build_model(
        "decoders_only", backbone="swin_scenes_tiny", tasks=("semseg",), img_size=64, pretrained=False,
        channels={"semseg": 40},
    )  # fmt: skip
    states, scores = image_states(model, Rooms())
    config = CompareConfig(
        tasks=("semseg",), methods=("decoders_only",), baseline="decoders_only", seeds=1, replicates=3
    )
    table, _ = tabulate({"decoders_only": [states]}, config, "nyud")
    assert table.loc["decoders_only", "semseg"] == pytest.approx(ml.headline(scores)["semseg"], rel=1e-6)


def test_three_seeds_give_an_interval_from_the_lowest_to_the_highest_and_the_page_says_so():
    """Where seeds decide, its ends are theirs, which hold the median of many seeds in three of four cases."""
    factors, base = np.array([0.9, 1.2, 1.05]), states_like(2.0, seeds=3)
    moved = [
        {"depth": s["depth"] | {"squares": s["depth"]["squares"] * f**2}} for s, f in zip(base, factors, strict=True)
    ]
    states = {"decoders_only": base, "mtlora": moved}
    config = CompareConfig(tasks=("depth",), methods=tuple(states), baseline="decoders_only", replicates=600)
    row = tabulate(states, config)[0].loc["mtlora"]
    assert (row["delta_m low"], row["delta_m high"]) == pytest.approx((-20, 10), abs=1e-6)
    results = Results(*tabulate(states, config), {row: {**COST, "trainable": 1} for row in states}, {})
    text = "\n".join(_page(results, config))
    assert "Over 3 seeds it is too narrow" in text
    assert "it holds the truth in 75 % of cases and not in 95" in text


# ------------------------------------------------------------------------------------------------ rows, costs, pages


def test_a_row_says_what_it_is_given():
    shared = {"rank": 8, "dropout": 0.0}
    plain, low, apart, frozen = read_rows(
        ("mtlora", "mtlora@rank=2@task_rank=[1,1,2,2]", "mtlora@decoder=aspp@pretrained=false", "decoders_only"), shared
    )
    assert (plain.options, plain.own) == (shared, {})
    assert (low.options, low.own) == ({"rank": 2, "task_rank": [1, 1, 2, 2], "dropout": 0.0}, {})
    assert (apart.options, apart.own) == (shared, {"decoder": "aspp", "pretrained": False})
    assert (frozen.options, frozen.own) == ({}, {})
    assert plain.tuned_as == low.tuned_as != apart.tuned_as


@pytest.mark.parametrize(
    ("row", "said"),
    {
        "mtlroa": "Unknown method 'mtlroa'. Did you mean 'mtlora'?",
        "mtlora@rnk=3": "mtlora has no option 'rnk'. Did you mean 'rank'? A row may set rank, task_rank",
        "mtlora@rank": "An option is written KEY=VALUE, got 'rank'.",
        "mtlora@combine=sum": "Unknown combine mode 'sum'.",
        "adapter@ratio=0": "The ratio of adapters is a number above 0, or one per stage; got 0.",
        "mtlora@steps=3": "'mtlora@steps=3': mtlora has no option 'steps'.",
        "mtlora@decoder=apss": "Unknown decoder 'apss'. There are: hrnet",
    }.items(),
)
def test_a_row_that_cannot_be_is_refused_at_once(row, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        CompareConfig(methods=(row,), baseline=row)


@pytest.mark.parametrize(
    ("row", "said"),
    {
        "lora@rank=-3": "The rank of a low-rank update is a whole number from 0 on, not -3.",
        "lora@rank=2.5": "The rank of a low-rank update is a whole number from 0 on, not 2.5.",
        "lora@rank=four": "rank['qkv'] is one number or one per stage: the backbone has 4 stages, got ('four',",
        "lora@rank=null": "is one number or one per stage",
        "mtl_lora@rank=2.5": "An update per task needs a whole rank of at least 1, got 2.5.",
        'lora@targets=["foo"]': "foo",
        'lora@train=["foo"]': "Unknown group 'foo' in train",
        "lora@backbone=swin_foo": "swin_foo",
        'decoders_only@decoder_options={"x":1}': "'x'",
        "lora@dropout=7": "between 0 and 1",
        "mtlora_plus@backbone=pvt_v2_scenes_tiny": "mtlora_plus",
        "full@balance=pcgrad": "torchjd",
    }.items(),
)
def test_a_row_that_cannot_be_built_is_refused_before_the_others_are_trained(row, said, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    config = CompareConfig(**SMALL | {"methods": (ROWS[0], row), "options": {}}, out=tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"The row {row} cannot be built: ")) as error:
        compare(config)
    assert said in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changed", ["tune_split", "table_split", "train_split"])
def test_images_serve_one_purpose_alone(changed):
    other = {"tune_split": "test", "table_split": "train", "train_split": "val"}[changed]
    with pytest.raises(ValueError, match="need images of their own, or the tables flatter whoever chose best on them"):
        CompareConfig(**{changed: other})


def test_rows_of_other_images_are_no_comparison():
    with pytest.raises(ValueError, match="single_task would leave out other images for each task"):
        CompareConfig(on_error="skip")
    CompareConfig(on_error="skip", methods=("mtlora", "full"), baseline="full")  # all of their runs have all tasks


def test_weights_of_a_rows_own_losses_go_to_the_runs_that_have_them():
    row = 'single_task@loss_weights={"depth":0.2}'
    config = CompareConfig(tasks=TASKS, methods=(row,), baseline=row)
    runs = [Run(config.rows[0], tasks, 1e-3, 0).config(config) for tasks in config.rows[0].parts(TASKS)]
    assert [run.loss_weights for run in runs] == [{}, {"depth": 0.2}]
    wrong = row.replace("depth", "edge")
    with pytest.raises(ValueError, match="loss_weights names 'edge', but the tasks are sal"):
        CompareConfig(tasks=TASKS, methods=(wrong,), baseline=wrong)


def test_an_option_that_no_row_has_is_refused():
    with pytest.raises(ValueError, match=r"No method of this comparison has an option 'rnak'\. Did you mean 'rank'"):
        CompareConfig(methods=("mtlora", "full"), baseline="full", options={"rnak": 3})


def test_costs_are_those_of_the_model_and_add_up_over_models(config, table):
    rows = table["rows"]
    for row in ROWS[:3]:
        folder = next(config.out.glob(f"{row.replace('@', '-')}-sal-depth-*seed0"))
        kept = json.loads((folder / "cost.json").read_text())
        assert kept.pop("device") == device_name()
        assert {name: rows[row][name] for name in kept} == kept
        model = MultiTaskModel.from_pretrained(folder / "model")
        assert kept["trainable"] == ml.parameter_report(model).loc["total", "trainable"]
        assert kept["memory MB"] > 12 * kept["trainable"] / 1e6
    folders = [next(config.out.glob(f"single*-{task}-*seed0")) for task in TASKS]
    reports = [ml.parameter_report(MultiTaskModel.from_pretrained(folder / "model")) for folder in folders]
    assert rows[ROWS[3]]["trainable"] == sum(report.loc["total", "trainable"] for report in reports)
    assert rows[ROWS[1]]["memory MB"] > rows[ROWS[0]]["memory MB"]  # a frozen backbone keeps nothing
    costs = [next(config.out.glob(f"single*-{task}-*seed0/cost.json")) for task in TASKS]
    each = [json.loads(path.read_text())["memory MB"] for path in costs]
    assert rows[ROWS[3]]["memory MB"] == max(each) < sum(each)  # one is trained after another


def test_what_was_measured_on_another_machine_is_measured_again(config, table, tmp_path):
    copied = CompareConfig(**SMALL, out=Path(shutil.copytree(config.out, tmp_path / "copy")))
    path = Run(config.rows[0], TASKS, table["lr"][ROWS[0]], 0).config(copied).out / "cost.json"
    path.write_text(json.dumps({"device": "Some GPU", "trainable": 1, "step ms": 1, "memory MB": 1, "predict ms": 1}))
    assert compare(copied).cost[ROWS[0]]["trainable"] == table["rows"][ROWS[0]]["trainable"]


def test_the_page_says_how_it_was_made_and_shows_what_is_there(config):
    text = (config.out / "report.md").read_text()
    for name in re.findall(r"!\[.*?\]\((.*?)\)", text):
        with Image.open(config.out / name) as picture:
            assert picture.width > 800
    (line,) = re.findall(r"```bash\n(.*)\n```", text)
    words = shlex.split(line)
    before = (config.out / "report.md").read_bytes()
    assert main(words[words.index("compare") :]) == 0
    assert (config.out / "report.md").read_bytes() == before
    csv = pd.read_csv(config.out / "table.csv", index_col="row")
    assert csv.loc[ROWS[2], "delta_m"] == pytest.approx(
        json.loads((config.out / "table.json").read_text())["rows"][ROWS[2]]["delta_m"], rel=1e-4
    )
    assert list(pd.read_csv(config.out / "better.csv", index_col="row").columns) == list(ROWS)


def test_rows_that_differ_in_one_number_are_joined_in_the_figure_and_say_which():
    names = ("mtlora@rank=16", "mtlora@rank=4@scale=8@task_scale=4", "mtlora@rank=16@combine=addition",
             "mtlora@rank=16@combine=matrixv2", "mtlora@rank=16@train=[]", "full", "mtlora@rank=0@task_rank=4",
             "mtlora@rank=16@task_rank=0")  # fmt: skip
    table = pd.DataFrame(
        {
            "trainable": [3e6, 1e6, 2e6, 4e6, 5e6, 9e6, 6e6, 7e6],
            "delta_m": range(8),
            "delta_m low": -1,
            "delta_m high": 9,
        },
        names,
    )
    (axes,) = pareto(table, "full").axes
    curves = [container.lines[0] for container in axes.containers]
    assert [list(curve.get_xdata()) for curve in curves] == [[1, 3], [2], [4], [5], [9], [6, 7]]
    assert [curve.get_linestyle() for curve in curves] == ["-", *["None"] * 5]
    words = {text.get_text() for text in axes.texts}
    assert words == {"4", "16", "rank=16, combine=addition", "rank=16, combine=matrixv2", "rank=16, train=[]",
                     "rank=0, task_rank=4", "rank=16, task_rank=0"}  # fmt: skip
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["mtlora, rank", "full"]
    assert len({curve.get_color() for curve in curves if list(curve.get_xdata()) != [9]}) == 1


def test_what_all_rows_of_a_method_are_given_stands_in_the_legend():
    names = ("mtlora@rank=16", "mtlora@rank=16@combine=addition", "full")
    table = pd.DataFrame({"trainable": [3e6, 1e6, 9e6], "delta_m": 0.0, "delta_m low": -1, "delta_m high": 1}, names)
    (axes,) = pareto(table, "full").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["mtlora, rank=16", "full"]
    assert [text.get_text() for text in axes.texts] == ["default", "combine=addition"]


def test_the_figure_of_gains_has_a_row_for_each_and_the_best_on_top():
    names = ("mtlora@rank=16", "mtlora@rank=16@combine=addition", "full")
    values = {"delta_m": [1.0, -2.0, 3.0], "delta_m low": [0.5, -3.0, 3.0], "delta_m high": [2.0, -1.5, 3.0]}
    (axes,) = gains(pd.DataFrame(values, names), "full").axes
    lowest_first = ["mtlora@rank=16@combine=addition", "mtlora@rank=16", "full"]
    assert [label.get_text() for label in axes.get_yticklabels()] == lowest_first
    mtlora, full = axes.containers
    assert [list(container.lines[0].get_xdata()) for container in (mtlora, full)] == [[-2, 1], [3]]
    assert [list(container.lines[0].get_ydata()) for container in (mtlora, full)] == [[0, 1], [2]]
    assert mtlora.lines[0].get_color() != full.lines[0].get_color()
    (bars,) = mtlora.lines[2]
    assert [list(bar[:, 0]) for bar in bars.get_segments()] == [[-3, -1.5], [0.5, 2]]


@pytest.mark.parametrize("draw", [pareto, gains])
def test_long_names_of_rows_stay_inside_the_figure(draw):
    names = [
        f"{method}@backbone={backbone}@decoder={decoder}"
        for method in ("decoders_only", "mtlora@rank=16")
        for backbone in ("swin_scenes_tiny", "pvt_v2_scenes_tiny")
        for decoder in ("hrnet", "segformer", "aspp", "deconv")
    ]
    millions = [1.46, 1.78, 24.6, 0.93] * 2 + [2.04, 2.37, 25.18, 1.52] + [2.25, 2.57, 25.39, 1.72]
    spread = {"trainable": [1e6 * value for value in millions], "delta_m": range(16)}
    figure = draw(pd.DataFrame(spread | {"delta_m low": -1, "delta_m high": 17}, names), names[0])
    (axes,) = figure.axes
    figure.draw_without_rendering()
    room = figure.bbox
    texts = [axes.xaxis.label, axes.yaxis.label, *(axes.get_yticklabels() if draw is gains else ()), *axes.texts]
    boxes = {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}
    outside = [text for text, box in boxes.items() if Bbox.union([box, room]).bounds != room.bounds]
    assert outside == []
    for text in axes.texts:
        box = text.get_window_extent()
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1, text


FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
for name in ("report.md", "table.json", "table.csv", "better.csv", "gains.png", "pareto.png", "published.png"):
    (out / name).write_text("x")
with open("called.jsonl", "a") as file:
    file.write(json.dumps(words) + "\\n")
"""


def test_the_commands_behind_the_results_are_comparisons_that_can_be_made(tmp_path, monkeypatch):
    """The script is run with a stand-in for ``mtlora``; then its calls are read as the command line reads them."""
    script = tmp_path / "data/results/run.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "data/results/run.sh", script)
    stand_in = tmp_path / "bin/mtlora"
    stand_in.parent.mkdir()
    stand_in.write_text(FAKE)
    stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{stand_in.parent}:{os.environ['PATH']}"}
    called = tmp_path / "called.jsonl"
    for wanted, expected in ((["few", "tasks/2"], 2), (["tasks"], 6)):
        subprocess.run([script, *wanted], check=True, env=environment)
        assert len(called.read_text().splitlines()) == expected
        called.unlink()
    subprocess.run([script], check=True, env=environment)
    calls = [json.loads(line) for line in called.read_text().splitlines()]
    configs = []
    monkeypatch.setattr("mtlora_lite.study.compare", lambda config: configs.append(config))
    monkeypatch.setattr("mtlora_lite.study.format_table", lambda results, tasks: "")
    assert [main(words) for words in calls] == [0] * len(calls)
    names = ["few", "methods", "combine", "task_rank", "shared_private", "loss_weights", "groups"]
    names += [*(f"tasks/{n}" for n in range(1, 7)), "backbones", "longer"]
    results = script.parent
    assert {str(path.parent.relative_to(results)) for path in results.rglob("report.md")} == set(names)
    assert {config.out for config in configs[:-1]} == {Path("runs/study")}
    assert len(configs) == len(names)
    assert {row.method for row in configs[1].rows} == set(METHODS)
    assert [len(config.tasks) for config in configs[7:13]] == [1, 2, 3, 4, 5, 6]
    seen = {}
    for config in configs:
        for row in config.rows:
            run = Run(row, row.parts(config.tasks)[0], 1e-3, 0).config(config)
            assert seen.setdefault(run.out, run) == run  # or what two comparisons have in common would be refused
        build_from_config(Run(config.rows[-1], config.rows[-1].parts(config.tasks)[0], 1e-3, 0).config(config))
