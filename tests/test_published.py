"""The count of every method beside the published one: what is printed is counted, and what is said of it adds up."""

import re

import pytest
import torch

from mtlora_lite import published
from mtlora_lite.backbones import build_backbone
from mtlora_lite.cli import main
from mtlora_lite.config import PAPER_TASKS
from mtlora_lite.methods import METHODS, method_options

FINAL_NORM = 2 * 768  # which timm's Swin-T has and our backbone does not


@pytest.fixture(scope="module")
def swin():
    with torch.device("meta"):
        return build_backbone(published.BACKBONE, img_size=published.IMG_SIZE, pretrained=False)


@pytest.fixture(scope="module")
def rows():
    return published.count_all()


def formula(swin, method, **options):
    return METHODS[method].count(swin, PAPER_TASKS, method_options(method, options))


def test_every_method_is_counted_and_has_what_its_formula_says(rows, swin):
    assert [*dict.fromkeys(row.method for row in rows)] == [*METHODS]
    decoders = next(row.trainable for row in rows if row.method == "decoders_only")
    assert decoders == 1_946_624
    for row in rows:
        copies = len(PAPER_TASKS) if row.method == "single_task" else 1
        assert row.trainable == decoders + copies * formula(swin, row.method, **row.published.options)


def test_what_is_published_of_mtlora_is_what_ours_has(rows):
    known = [row for row in rows if row.method == "mtlora"]
    assert [round(row.trainable / 1e6, 2) for row in known] == [row.published.millions for row in known]


def test_the_reasons_add_up(swin):
    """The published totals, to their last digit or as near as is said, out of the numbers that the notes name."""
    backbone = formula(swin, "full") + FINAL_NORM
    decoders = 112.62e6 - 4 * backbone
    assert round(backbone / 1e6, 2) == 27.52
    assert round(decoders / 1e6, 2) == 2.54
    assert round((backbone + decoders) / 1e6, 2) == 30.06
    assert formula(swin, "bitfit", train=("rel_pos",)) + FINAL_NORM // 2 == 75_546
    assert formula(swin, "vpt") == 50 * 96
    assert formula(swin, "vpt", deep=True) == 50 * 4_416
    assert formula(swin, "adapter", train=()) == 2_167_584
    assert formula(swin, "lora", rank=3, targets=("qkv", "proj")) == 79_488
    per_task = {75_546: 2.85, 50 * 96: 2.57, 50 * 4_416: 3.43}
    for count, total in per_task.items():
        assert abs(4 * count + decoders - total * 1e6) <= 0.01e6  # two roundings
    assert round((4 * 2_167_584 + decoders) / 1e6, 2) == 11.21
    assert round((4 * 79_488 + decoders) / 1e6, 2) == 2.86
    said = " ".join(row.why for several in published.PUBLISHED.values() for row in several)
    for number in ("75,546", "4,416", "2,167,584", "79,488"):
        assert number in said


def test_the_page_is_narrow_and_says_why_numbers_differ(rows, capsys):
    page = published.format_counts(rows)
    assert max(map(len, page.splitlines())) <= published.WIDTH
    for row in rows:
        other = row.published.millions is not None and round(row.trainable / 1e6, 2) != row.published.millions
        assert bool(row.published.why) is other
        options = " ".join(f"{key}={value}" for key, value in row.published.options.items())
        star = r" +\*" if row.published.millions and not row.published.checked else ""
        assert re.search(rf"^{row.method} +{options} +{row.trainable:,} .*{star}$", page, re.MULTILINE)


def test_the_command_counts_another_backbone_and_claims_nothing_of_it(capsys):
    tiny = ["--backbone", "swin_scenes_tiny", "--tasks", "sal", "depth", "--img-size", "64"]
    assert main(["params", "--all", *tiny]) == 0
    said = capsys.readouterr().out
    assert "112.62" not in said
    assert re.search(r"^vpt +deep=True +[\d,]+ +[\d.]+ +-$", said, re.MULTILINE)
    assert main(["params", "--all", "--method", "lora"]) == 2
    assert "leave out --method and --options" in capsys.readouterr().err


def test_a_method_whose_package_is_missing_says_so(monkeypatch):
    monkeypatch.setattr("mtlora_lite.extras.find_spec", lambda name: None if name == "peft" else object())
    rows = published.count_all("swin_scenes_tiny", ["sal"], 64)
    (dora,) = (row for row in rows if row.method == "dora")
    assert dora.trainable is None
    assert "pip install peft" in published.format_counts(rows)
