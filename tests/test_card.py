"""The card of a model: what the hub reads of it, what people read, and the code in it."""

import json
import re
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image

import mtlora_lite as ml
from mtlora_lite.paths import data_dir

RESULTS = {
    "metrics": {"sal": {"mIoU": 52.5, "maxF": 60.0}, "depth": {"rmse": 5.75, "abs_rel": 0.2}},
    "delta_m": 7.25, "reference": "single_task of swin on scenes, split val, from /home/somebody/runs/single",
    "data": "scenes", "split": "test", "images": 200, "protocol": "standard", "step": 600, "seconds": 1.5,
}  # fmt: skip


@pytest.fixture
def model():
    return ml.build_model(
        backbone="swin_scenes_tiny", tasks=["sal", "depth"], img_size=64, rank=3, task_rank={"sal": 1, "depth": 2},
        scale=0.5, decoder_options={"expansion": 1},
    ).eval()  # fmt: skip


def card_of(folder):
    text = (folder / "README.md").read_text()
    return yaml.safe_load(text.split("---\n")[1]), text


def test_metadata_is_what_the_hub_reads(model, tmp_path):
    model.save_pretrained(tmp_path / "mine", results=RESULTS)
    data, text = card_of(tmp_path / "mine")
    assert data["library_name"] == "mtlora_lite"
    assert data["license"] == "mit"
    assert {"multi-task-learning", "lora", "sal", "depth"} <= set(data["tags"])
    assert data["metrics"] == ["mIoU", "rmse"]
    assert data["datasets"] == ["rendered scenes of mtlora_lite"]
    (index,) = data["model-index"]
    assert index["name"] == "mine"
    values = {(entry["task"]["name"], metric["type"]): metric["value"]
              for entry in index["results"] for metric in entry["metrics"]}  # fmt: skip
    assert values == {("Saliency", "mIoU"): 52.5, ("Depth", "rmse"): 5.75}
    assert {entry["dataset"]["split"] for entry in index["results"]} == {"test"}
    again = ModelCard(text)  # as the hub's own reader has it
    assert [result.metric_value for result in again.data.eval_results] == [52.5, 5.75]


def test_people_read_scores_and_sizes(model, tmp_path):
    model.save_pretrained(tmp_path / "mine", results=RESULTS)
    _, text = card_of(tmp_path / "mine")
    assert "| Saliency | mIoU ↑ | 52.50 % |" in text
    assert "| Depth | rmse ↓ | 5.75 m |" in text
    assert "| Δm | over single_task of swin on scenes, split val, from single ↑ | +7.25 % |" in text
    assert "Scored on 200 images of rendered scenes of mtlora_lite, split test, by the standard protocol." in text
    assert "/home" not in text
    report = ml.parameter_report(model).loc["total"]
    assert f"{report['trainable']:,} of {report.sum():,}" in text
    assert "without the frozen weights, which are those of swin_scenes_tiny" in text
    assert "| method | `mtlora`, rank=3, task_rank={'sal': 1, 'depth': 2}, combine=matrix |" in text


def test_scores_travel_with_the_model(model, tmp_path):
    model.save_pretrained(tmp_path / "first", results=RESULTS)
    again = ml.MultiTaskModel.from_pretrained(tmp_path / "first")
    assert again.results == RESULTS
    again.save_pretrained(tmp_path / "second")
    texts = [card_of(tmp_path / name)[1].split("<!--")[0].replace(name, "NAME") for name in ("first", "second")]
    assert texts[0] == texts[1]


def test_scores_of_other_weights_do_not_travel(model, tmp_path):
    model.save_pretrained(tmp_path / "first", results=RESULTS)
    again = ml.MultiTaskModel.from_pretrained(tmp_path / "first")
    again.train().eval().save_pretrained(tmp_path / "second")
    assert "How it scores has not been recorded." in card_of(tmp_path / "second")[1]


def test_a_card_that_was_edited_is_kept_and_one_that_was_not_is_renewed(model, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    model.save_pretrained(tmp_path / "mine", results=RESULTS)
    _, text = card_of(tmp_path / "mine")
    assert "52.50 %" in text
    for own in (text.replace("MTLoRA", "My model", 1), "# Something else\n", ""):
        (tmp_path / "mine/README.md").write_text(own)
        model.save_pretrained(tmp_path / "mine", results=RESULTS | {"images": 100})
        assert (tmp_path / "mine/README.md").read_text() == own


def test_without_scores_there_is_a_card_all_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "mine")
    data, text = card_of(tmp_path / "mine")
    assert "model-index" not in data
    assert "metrics" not in data
    assert data["license"] == "unknown"
    assert "How it scores has not been recorded." in text
    assert "results" not in json.loads((tmp_path / "mine/config.json").read_text())


def test_a_folder_of_data_is_called_by_its_name_and_its_licence_is_left_to_the_user(model, tmp_path):
    results = RESULTS | {"data": "/home/somebody/PASCAL_MT", "delta_m": None, "reference": None}
    results["metrics"] = {"sal": {"mIoU": None}, "depth": {"rmse": 3.0}}  # of no image at all
    model.save_pretrained(tmp_path / "mine", results=results)
    data, text = card_of(tmp_path / "mine")
    assert data["datasets"] == ["PASCAL_MT"]
    assert data["license"] == "unknown"
    assert data["metrics"] == ["rmse"]
    assert "/home" not in text


def test_the_code_in_it_runs(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "mine")
    shutil.copy(data_dir() / "sample/JPEGImages/000003.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", card_of(tmp_path / "mine")[1], re.DOTALL)
    names = {}
    exec(code, names)
    assert names["logits"]["depth"].shape == (1, 1, 64, 64)
    with Image.open("seen.png") as picture:
        assert picture.width > picture.height
