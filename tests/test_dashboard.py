"""The page of ``make app`` without a browser: what is chosen becomes what is shown, and a bad photo becomes a line."""

import base64
import json
import os
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from traitlets.config import PyFileConfigLoader

pytest.importorskip("anywidget", reason="anywidget is not installed: pip install 'mtlora-lite[app]'")

import mtlora_lite as ml
from mtlora_lite.dashboard import drawing, models, pictures
from mtlora_lite.dashboard.drawing import rank_words, score_words
from mtlora_lite.dashboard.page import FIRST_TASKS, Page
from mtlora_lite.dashboard.pictures import MAX_BYTES, sample_scenes, sent_picture
from mtlora_lite.metrics import headline
from mtlora_lite.paths import data_dir
from mtlora_lite.photos import PhotoError
from mtlora_lite.predict import predict_photo
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import eval_transform
from mtlora_lite.viz import colorize

SIZE = (128, 128)
FOLDER = Path(__file__).parents[1] / "notebooks" / "app"


@pytest.fixture(scope="module")
def compared():
    return models.load_compared()


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes(SIZE)


@pytest.fixture
def page(compared, scenes):
    return Page(compared, scenes)


def encoded(image, kind="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width=90, height=60):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


# ------------------------------------------------------------------------------------------------------------ models


def test_the_models_are_of_several_methods_on_one_backbone_and_the_same_tasks(compared):
    configs = [one.model.config for one in compared.values()]
    assert list(compared) == [config.method for config in configs]
    assert {"mtlora", "decoders_only"} <= set(compared)
    for name in ("backbone", "tasks", "img_size", "decoder", "decoder_options"):
        assert all(getattr(config, name) == getattr(configs[0], name) for config in configs)
    for one in compared.values():
        assert one.trained == sum(p.numel() for p in one.model.parameters() if p.requires_grad)
    assert compared["mtlora"].ranks == {"shared": 8, **dict.fromkeys(TASKS, 4)}
    assert compared["decoders_only"].ranks == {}


def test_at_full_rank_a_model_sees_what_it_sees_outside_of_the_page(compared, scenes):
    with torch.inference_mode():
        for one in compared.values():
            expected = one.model(scenes[3].seen)
            for task, logits in one.see(scenes[3], list(TASKS), 8).logits.items():
                torch.testing.assert_close(logits, expected[task], atol=1e-3, rtol=1e-4)


def test_at_rank_0_it_sees_what_it_would_without_its_updates(compared, scenes):
    one = compared["mtlora"]
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    seen = one.see(scenes[0], ["normals", "sal"], 0).logits
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    bare = ml.MultiTaskModel.from_pretrained(data_dir() / "demo_mtlora")
    with torch.inference_mode():
        for name, parameter in bare.named_parameters():
            if re.search(r"lora_t[as]_B", name):
                parameter.zero_()
        for task, logits in bare(scenes[0].seen, ["normals", "sal"]).items():
            torch.testing.assert_close(seen[task], logits, atol=1e-3, rtol=1e-4)
    between = one.see(scenes[0], ["normals"], 3).logits["normals"]
    whole = one.see(scenes[0], ["normals"], 8).logits["normals"]
    assert (seen["normals"] - whole).abs().mean() > (between - whole).abs().mean() > 1e-3


def test_scores_are_those_of_an_evaluation_of_this_one_picture(compared, scenes):
    data = ml.PascalContext(data_dir() / "sample", "train", tuple(TASKS), eval_transform(128))
    data.ids = data.ids[6:7]
    one = compared["mtlora"]
    expected = headline(ml.evaluate(one.model, data))
    assert one.see(scenes[6], list(TASKS), 8).scores == pytest.approx(expected, rel=1e-3)
    photograph = sent_picture(encoded(photo()), "photo.png", SIZE)
    assert one.see(photograph, ["depth"], 8).scores == {}


# ---------------------------------------------------------------------------------------------------------- pictures


def test_the_scenes_are_the_first_of_the_sample_with_their_labels(scenes):
    assert [scene.title for scene in scenes] == [f"Scene {number}" for number in range(1, 13)]
    for number, scene in enumerate(scenes):
        with Image.open(data_dir() / "sample" / "JPEGImages" / f"{number:06}.jpg") as image:
            np.testing.assert_array_equal(np.asarray(scene.image), np.asarray(image))
        assert set(scene.targets) == set(TASKS)
    assert "person" in scenes[6].about


def test_a_sent_photo_is_seen_as_predict_sees_it(tmp_path, compared):
    (tmp_path / "photo.png").write_bytes(encoded(photo()))
    expected, _ = predict_photo(compared["decoders_only"].model, tmp_path / "photo.png", ["sal"])
    sent = sent_picture(encoded(photo()), "photo.png", SIZE)
    assert torch.equal(sent.seen, expected)
    assert sent.targets is None
    assert "90 × 60 pixels" in sent.about
    assert "128 × 128" in sent.about


def test_of_an_animation_the_first_frame_is_taken_and_that_is_said():
    frames = [Image.new("L", (64, 64), shade) for shade in (0, 100, 200)]
    sent = sent_picture(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "clip.gif", SIZE)
    assert "the first of 3 frames" in sent.about


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        (b"", "empty.jpg", "empty.jpg is empty"),
        (b"hello", "letter.jpg", "letter.jpg is not an image"),
        (encoded(photo(), "JPEG")[:900], "half.jpg", "half.jpg is damaged or cut off"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "phone.heic", "phone.heic is a HEIC photo"),
        (encoded(Image.new("1", (9000, 9000))), "bomb.png", r"bomb.png has too many pixels \(64,000,000"),
        (encoded(Image.new("L", (1, 1))), "dot.png", "dot.png has 1 × 1 pixels, too few"),
        (encoded(Image.new("L", (2000, 40))), "strip.png", "strip.png is a strip of 2000 × 40"),
        (bytes(MAX_BYTES + 1), "long.jpg", r"long.jpg has 20 MB \(20 MB is the limit\)"),
        (b"", f"a\nb{'x' * 300}.jpeg", r"^abx+…xxxxxx.jpeg is empty"),
    ],
)
def test_a_bad_photo_gets_one_line_and_changes_nothing_else(page, content, name, line):
    with pytest.raises(PhotoError, match=line):
        sent_picture(content, name, SIZE)
    before, picture = page.results.value, page.picture
    page.send(content, name)
    assert page.message.value.count("<p ") == 1
    assert "\n" not in page.message.value
    assert (page.results.value, page.picture) == (before, picture)
    assert "thinking" not in page.status.value
    page.thumbs[0].click()  # it goes on
    assert page.message.value == ""
    assert page.results.value != before


# ----------------------------------------------------------------------------------------------------------- drawing


def images(html):
    """The pictures in a piece of the page, as arrays."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(BytesIO(base64.b64decode(each)))) for each in found]


def test_what_is_drawn_are_the_label_and_each_prediction_in_the_tasks_colours(compared, scenes):
    seen = {key: one.see(scenes[1], ["semseg"], 8) for key, one in compared.items()}
    label, *predictions = images(drawing.results_html(scenes[1], ["semseg"], compared, seen))
    np.testing.assert_array_equal(label, colorize("semseg", scenes[1].targets["semseg"][0]))
    for drawn, key in zip(predictions, compared, strict=True):
        classes = seen[key].logits["semseg"][0].argmax(0)
        np.testing.assert_array_equal(drawn, colorize("semseg", classes[None]))


def test_a_photos_maps_have_its_shape_and_there_is_no_label(page):
    page.send(encoded(photo(800, 600), "JPEG"), "wide.jpg")
    drawn = images(page.results.value.split("Surface normals</h3>")[0])
    assert {picture.shape for picture in drawn} == {(192, 256, 3)}
    assert "label<br>" not in page.results.value
    assert "mt-best" not in page.results.value


def test_a_name_cannot_write_on_the_page(page):
    page.send(encoded(photo()), "<img src=x onerror=alert(1)>.png")
    everything = page.shown.value + page.results.value
    assert "<img src=x" not in everything
    assert "&lt;img src=x" in everything
    page.send(b"", "<script>alert(1)</script>.png")
    assert "<script>" not in page.message.value


@pytest.mark.parametrize(
    ("task", "scores", "marked"),
    [
        ("semseg", {"a": 40.0, "b": 50.0}, {"b"}),
        ("depth", {"a": 1.0, "b": 2.0}, {"a"}),
        ("normals", {"a": 20.01, "b": 20.02}, set()),  # which look the same
        ("sal", {"a": 40.0}, set()),
        ("sal", {"a": 40.0, "b": 40.0, "c": 30.0}, {"a", "b"}),
        ("human_parts", {"a": float("nan"), "b": float("nan")}, set()),
    ],
)
def test_the_best_of_several_is_marked(task, scores, marked):
    words = {name: score_words(TASKS[task], name, scores) for name in scores}
    assert {name for name, text in words.items() if "mt-best" in text} == marked
    assert score_words(TASKS[task], "label", scores) == ""
    if task == "human_parts":
        assert "nothing labelled" in words["a"]


def test_ranks_in_words():
    assert rank_words({"shared": 8, "semseg": 4, "depth": 2}, 3) == "shared rank 3 of 8, private rank 3 of 4"
    assert rank_words({"shared": 8}, 9) == "shared rank 8 of 8"
    assert rank_words({"semseg": 4}, 1) == "private rank 1 of 4"
    assert "no updates" in rank_words({}, 1)


# -------------------------------------------------------------------------------------------------------------- page


def rows(page):
    return re.findall(r"<h3>([\w ]+?)(?: <small>|</h3>)", page.results.value.partition("mt-results")[2])


def test_the_page_shows_the_chosen_tasks_by_the_chosen_methods(page):
    assert rows(page) == [TASKS[task].title for task in FIRST_TASKS]
    page.tasks["edge"].value = True
    page.tasks["semseg"].value = False
    chosen = [task for task, button in page.tasks.items() if button.value]
    assert rows(page) == [TASKS[task].title for task in chosen]
    page.methods["mtlora"].value = False
    assert "MTLoRA<br>" not in page.results.value
    assert "Decoders only<br>" in page.results.value


def test_the_page_asks_for_a_choice_where_there_is_none(page):
    for button in page.methods.values():
        button.value = False
    assert "at least one method" in page.results.value
    for button in page.tasks.values():
        button.value = False
    assert "at least one task" in page.results.value
    page.tasks["sal"].value = page.methods["mtlora"].value = True
    assert rows(page) == ["Saliency"]


def test_the_rank_says_what_it_does(page):
    before = images(page.results.value)
    page.rank.value = 1
    assert "shared rank 1 of 8, private rank 1 of 4" in page.results.value
    assert "no updates that could be cut" in page.results.value
    changed = [not np.array_equal(a, b) for a, b in zip(before, images(page.results.value), strict=True)]
    assert any(changed)
    assert not all(changed)
    page.rank.value = 8
    assert all(np.array_equal(a, b) for a, b in zip(before, images(page.results.value), strict=True))


def test_it_says_that_it_thinks_until_it_has_drawn(page):
    said = []
    page.status.observe(lambda change: said.append(("thinking" in change.new, page.results.value)), "value")
    before = page.results.value
    page.thumbs[3].click()
    assert said == [(True, before), (False, page.results.value)]
    assert re.search(r"Looked and drawn in \d+\.\d seconds", page.status.value)


def test_the_chosen_scene_is_marked(page):
    page.thumbs[2].click()
    assert ["mt-chosen" in thumb._dom_classes for thumb in page.thumbs] == [number == 2 for number in range(12)]
    assert "Scene 3" in page.shown.value
    page.send(encoded(photo()), "photo.png")
    assert not any("mt-chosen" in thumb._dom_classes for thumb in page.thumbs)


def test_an_error_of_ours_is_a_line_on_the_page_and_a_traceback_in_the_log(page, monkeypatch, capfd):
    monkeypatch.setattr(models.Compared, "see", lambda *_: 1 / 0)
    page.thumbs[2].click()
    assert "That did not work (ZeroDivisionError)" in page.message.value
    assert "Traceback" not in page.message.value + page.results.value
    assert "thinking" not in page.status.value
    assert "ZeroDivisionError: division by zero" in capfd.readouterr().err
    monkeypatch.undo()
    page.thumbs[1].click()
    assert page.message.value == ""
    assert rows(page)


def test_what_a_browser_sends_is_read_or_refused(page):
    upload = page.upload
    upload._handle_custom_msg({"name": "a.png", "size": 9}, [memoryview(encoded(photo()))])
    assert page.picture.title == "a.png"
    upload._handle_custom_msg({"name": "huge.jpg", "size": 200_000_000}, [])
    assert "huge.jpg has 200 MB (20 MB is the limit)" in page.message.value
    upload._handle_custom_msg({"name": "folder", "size": 0, "unreadable": True}, [])
    assert "folder could not be read by your browser" in page.message.value
    upload._handle_custom_msg({"name": "empty.png", "size": 0}, [memoryview(b"")])
    assert "empty.png is empty" in page.message.value
    assert upload.limit == MAX_BYTES


# --------------------------------------------------------------------------------------------------- how it is served


def test_the_notebook_only_shows_the_page():
    (cell,) = json.loads((FOLDER / "page.ipynb").read_text())["cells"]
    assert "".join(cell["source"]) == "from mtlora_lite.dashboard import show\n\nshow()"
    assert cell["outputs"] == []
    assert cell["execution_count"] is None


def test_the_server_hides_code_and_errors_and_lets_the_largest_photo_pass(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "before")
    config = PyFileConfigLoader("voila.py", path=str(FOLDER)).load_config()
    assert config.VoilaConfiguration.strip_sources
    assert not config.VoilaConfiguration.show_tracebacks
    assert config.Voila.tornado_settings["websocket_max_message_size"] == MAX_BYTES + 1_000_000
    assert os.environ["JUPYTER_PATH"].split(os.pathsep) == [str(FOLDER), "before"]
    assert (FOLDER / "voila/templates" / config.VoilaConfiguration.template / "index.html.j2").is_file()


def test_colours_on_the_page_are_those_of_the_tasks(page):
    for task in FIRST_TASKS:
        assert f"--task: {TASKS[task].color}" in page.results.value
    assert pictures.SCENES == len(page.thumbs) == page.widget.children[0].value.count("background-image")
