"""What Δm is relative to: found by name or file, and refused where it compares what cannot be compared."""

import pytest

import mtlora_lite as ml
from mtlora_lite.references import (
    PUBLISHED,
    PUBLISHED_GAINS,
    RERUN,
    Reference,
    gain_over,
    get_reference,
    write_reference,
)

PAPER = PUBLISHED["paper_swin_tiny"]


def results(scores):
    """As ``compute()`` gives them."""
    return {task: {ml.TASKS[task].metric: value} for task, value in scores.items()}


PRINTED_OTHERWISE = {"full fine-tuning": 2.45}  # the table says 2.23, and its own columns this


@pytest.mark.parametrize("row", [row for row in (*PUBLISHED_GAINS, RERUN) if row.scores], ids=lambda row: row.method)
def test_published_rows_give_their_delta_m(row):
    """As far as columns with two decimals determine it."""
    given = gain_over(PAPER, results(row.scores), "paper")
    assert given == pytest.approx(PRINTED_OTHERWISE.get(row.method, row.delta_m), abs=0.03)


def test_every_row_of_the_papers_table_has_its_scores():
    assert [row.method for row in PUBLISHED_GAINS if not row.scores] == [
        "DiTASK", "TADFormer r64", "Free Sinewich r64", "FAAR",
    ]  # fmt: skip
    assert PUBLISHED_GAINS[0].scores == PAPER.scores


def test_a_reference_is_found_by_name_or_file(tmp_path):
    own = Reference({"sal": 50.0, "edge": 40.0}, {"sal": "mIoU", "edge": "odsF"}, "standard", "a run of mine")
    write_reference(tmp_path / "reference.json", own)
    assert get_reference(str(tmp_path / "reference.json")) == own
    assert get_reference("paper_swin_tiny") is PAPER
    (tmp_path / "other.json").write_text('{"scores": 1}')
    for name in ("paper_swin_huge", str(tmp_path / "other.json"), str(tmp_path)):
        with pytest.raises(ValueError, match=r"No reference .* paper_swin_tiny, or the file reference\.json"):
            get_reference(name)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="by the paper protocol, this run by the standard protocol"):
        gain_over(PAPER, results({"sal": 60.0}), "standard")
    with pytest.raises(ValueError, match="no result for depth"):
        gain_over(PAPER, results({"sal": 60.0, "depth": 1.0}), "paper")
    edges = Reference({"edge": 40.0}, {"edge": "F_1px"}, "paper", "elsewhere")
    with pytest.raises(ValueError, match="has F_1px of edge, this run odsF: set boundary alike"):
        gain_over(edges, {"edge": {"F_1px": 40.0, "odsF": 44.0}}, "paper")
    for useless in (0.0, None, float("nan")):
        failed = Reference({"sal": useless}, {"sal": "mIoU"}, "paper", "elsewhere")
        with pytest.raises(ValueError, match="has no score above 0 for sal, so nothing can be relative to it"):
            gain_over(failed, results({"sal": 60.0}), "paper")
    only = {"sal": 62.35 * 1.1}
    assert (
        gain_over(PAPER, results(only), "paper") == pytest.approx(10) == pytest.approx(ml.delta_m(only, {"sal": 62.35}))
    )
