"""What Δm is relative to: found by name or file, and refused where it compares what cannot be compared."""

import pytest

import mtlora_lite as ml
from mtlora_lite.references import PUBLISHED, Reference, gain_over, get_reference, write_reference

PAPER = PUBLISHED["paper_swin_tiny"]


def results(scores):
    """As ``compute()`` gives them."""
    return {task: {ml.TASKS[task].metric: value} for task, value in scores.items()}


def test_published_rows_of_the_paper_give_its_delta_m():
    """MTLoRA with rank 64, 32 and 16, as far as columns with two decimals determine it."""
    rows = {
        2.55: {"semseg": 67.90, "human_parts": 59.84, "sal": 65.40, "normals": 16.60},
        2.16: {"semseg": 67.74, "human_parts": 59.46, "sal": 64.90, "normals": 16.59},
        1.35: {"semseg": 68.19, "human_parts": 58.99, "sal": 64.48, "normals": 17.03},
    }
    for published, scores in rows.items():
        assert gain_over(PAPER, results(scores), "paper") == pytest.approx(published, abs=0.03)


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
    only = {"sal": 62.35 * 1.1}
    assert (
        gain_over(PAPER, results(only), "paper") == pytest.approx(10) == pytest.approx(ml.delta_m(only, {"sal": 62.35}))
    )
