"""The pages people read: their code runs, their commands exist, their links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

import mtlora_lite as ml
from mtlora_lite import backbones, cli, nyud_mt, pascal_mt, published, tasks
from mtlora_lite.backbones import build_backbone, timm_state_dict
from mtlora_lite.methods import METHODS, Method
from mtlora_lite.methods.full import NoOptions
from mtlora_lite.paths import data_dir
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import collate, eval_transform
from mtlora_lite.viz import prediction_grid

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "GLOSSARY.md", "CONTRIBUTING.md", "data/README.md")
TEXT = {page: (ROOT / page).read_text() for page in PAGES}

pytestmark = pytest.mark.usefixtures("cache")
each_page = pytest.mark.parametrize("page", PAGES)


def blocks(page, language):
    fenced = re.findall(r"^```([^\n]*)\n(.*?)^```$", TEXT[page], re.MULTILINE | re.DOTALL)
    return [block for found, block in fenced if found == language]


# ------------------------------------------------------------------------------------------------------ code that runs


def test_the_readmes_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    assert len(blocks("README.md", "python")) == 3
    for block in blocks("README.md", "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["shared"].shape == (8, 384)
    assert names["private"].shape == (2, 8, 384)
    assert names["logits"]["semseg"].shape == (1, 21, 128, 128)
    assert set(names["losses"]) == {"semseg", "normals", "depth"}
    assert (tmp_path / "runs/mine/model.safetensors").is_file()
    printed = capsys.readouterr().out
    assert "TS-LoRA" in printed
    assert str(ml.headline(names["scores"])) in printed


def test_the_readmes_shares_are_those_of_the_model():
    model = ml.build_model(
        "mtlora",
        backbone="swin_tiny_patch4_window7_224",
        tasks=cli.PAPER_TASKS,
        img_size=448,
        pretrained=False,
        rank=16,
    )
    counted = dict.fromkeys(("frozen", "private", "shared"), 0)
    for name, parameter in model.named_parameters():
        private = name.startswith("decoders.") or "lora_ts_" in name
        counted["private" if private else "shared" if parameter.requires_grad else "frozen"] += parameter.numel()
    stated = re.findall(r"^\| \*\*(\w+)\*\*.*\| +([\d,]+) \|$", TEXT["README.md"], re.MULTILINE)
    assert {name: int(number.replace(",", "")) for name, number in stated} == counted


def test_the_readmes_backbones_are_those_there_are_and_count_what_it_says():
    rows = re.findall(
        r"^\| `(\w+)_\*`.*?\| ([\w, ]+?) +\| `(\w+)` +\| +([\d,]+) \| +([\d,]+) \|$", TEXT["README.md"], re.M
    )
    assert [family for family, *_ in rows] == list(backbones.FAMILIES)
    for family, targets, name, trained, total in rows:
        assert targets == ", ".join(backbones.FAMILIES[family].targets())
        model = ml.build_model(backbone=name, tasks=cli.PAPER_TASKS, img_size=448, pretrained=False)
        report = ml.parameter_report(model).loc["total"]
        assert (f"{report['trainable']:,}", f"{report.sum():,}") == (trained, total)


def test_a_task_is_added_as_contributing_says(monkeypatch):
    (row,), (target,) = blocks("CONTRIBUTING.md", "python task"), blocks("CONTRIBUTING.md", "python target")
    task = eval(row, {"Task": tasks.Task})
    monkeypatch.setitem(tasks.TASKS, task.key, task)
    for key, value in eval(f"{{{target}}}", vars(pascal_mt)).items():
        monkeypatch.setitem(pascal_mt.TARGETS, key, value)
    names = ["sky", "semseg"]
    data = ml.PascalContext(data_dir() / "sample", "val", names, eval_transform(64))
    batch = collate([data[index] for index in range(2, 6)])
    assert 0 < batch["sky"].float().mean() < 0.5
    model = ml.build_model(backbone="swin_scenes_tiny", tasks=names, img_size=64, rank=2)
    logits = model(batch["image"])
    total, losses = ml.MultiTaskLoss(names)(logits, batch)
    total.backward()
    assert torch.isfinite(losses["sky"])
    prediction_grid(batch["image"], logits, batch)
    assert 0 <= ml.headline(ml.evaluate(model, data))["sky"] <= 100


def test_a_method_is_added_as_contributing_says(monkeypatch):
    (function,), (row,) = blocks("CONTRIBUTING.md", "python method"), blocks("CONTRIBUTING.md", "python row")
    (count,) = blocks("CONTRIBUTING.md", "python count")
    names = {"Method": Method, "NoOptions": NoOptions}
    exec(function, names)
    exec(count, names)
    for name, method in eval(f"{{{row}}}", names).items():
        monkeypatch.setitem(METHODS, name, method)
    model = ml.build_model("norms", backbone="swin_scenes_tiny", tasks=["sal"], img_size=64)
    trained = {name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("norm" in name for name in trained)
    counted = {row.method: row.trainable for row in published.count_all("swin_scenes_tiny", ["sal"], 64)}
    assert counted["norms"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    plain = build_backbone("swin_scenes_tiny", img_size=64, pretrained=False)
    assert counted["norms"] == counted["decoders_only"] + METHODS["norms"].count(plain, ("sal",), NoOptions())


def test_a_family_is_added_as_contributing_says(monkeypatch, tmp_path):
    (code,) = blocks("CONTRIBUTING.md", "python family")
    monkeypatch.setattr("mtlora_lite.backbones.FAMILIES", backbones.FAMILIES | {})  # what is registered does not stay
    exec(code, {})
    shape = {"family": "convnext", "dims": [6, 8, 10, 12], "depths": [1, 2, 1, 2]}
    options = {"tasks": ["sal", "depth"], "img_size": 64, "rank": 3, "task_rank": {"sal": 1, "depth": 2}, "scale": 1.5}
    model = ml.build_model(backbone=shape, pretrained=False, dropout=0.0, drop_path=0.0, **options)
    images, seen = torch.randn(2, 3, 64, 64), []
    plain = model.backbone.timm_class(dims=[6, 8, 10, 12], depths=[1, 2, 1, 2], num_classes=0)
    plain.load_state_dict(timm_state_dict(model.backbone))
    for module in (*(stage.downsample for stage in plain.stages[1:]), plain.stages[3]):
        module.register_forward_hook(lambda _, x, y: seen.append(y))
    plain.forward_features(images)
    torch.testing.assert_close(model.backbone(images, ["sal"])["sal"], seen)  # updates start at zero

    before = model.eval()(images)
    for name, parameter in model.named_parameters():
        if ".lora_ts_" in name and name.endswith(".sal"):
            parameter.data.normal_()
    after = model(images)
    assert torch.equal(after["depth"], before["depth"])
    assert not torch.allclose(after["sal"], before["sal"])
    model.save_pretrained(tmp_path)
    assert torch.equal(ml.MultiTaskModel.from_pretrained(tmp_path)(images)["sal"], after["sal"])
    assert ml.parameter_report(model).loc["scales"].tolist() == [0, 6 + 2 * 8 + 10 + 2 * 12]
    with pytest.raises(ValueError, match="no linear layer in a ConvNeXt"):
        ml.build_model("mtlora_plus", backbone=shape, pretrained=False, **options)
    with pytest.raises(ValueError, match="convolutions in its MLPs"):
        ml.build_model(backbone="convnext_atto", pretrained=False, **options)


# ------------------------------------------------------------------------------------------------- commands that exist


def commands():
    """Every ``mtlora ...`` and ``python -m mtlora_lite ...`` in code, with continued lines joined."""
    for page, text in TEXT.items():
        code = blocks(page, "bash") + re.findall("`(mtlora .+?)`", text)
        for line in "\n".join(code).replace("\\\n", " ").splitlines():
            if found := re.search(r"(?:^|/|; )(?:mtlora|python -m mtlora_lite) (?!COMMAND)(\w.*)", line.split("#")[0]):
                yield found[1]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_commands_are_understood(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in re.findall(r"--config (\S+)", command):  # which is read along with the command
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text("{}")
    seen = []
    for table in (cli.COMMANDS, cli.DATA_COMMANDS):
        for name, (config, _) in list(table.items()):
            monkeypatch.setitem(table, name, (config, seen.append))
    cli.main(shlex.split(command))
    assert len(seen) == 1


def test_all_commands_and_methods_are_in_the_readme():
    table = re.findall(r"^\| `(\w+)` +\| .* \| `mtlora (\w+)", TEXT["README.md"], re.MULTILINE)
    assert table == [(name, name) for name in cli.COMMANDS]
    counts = re.findall(r"^\| `(\w+)` +\| .*? \| +(\d+\.\d+) \|", TEXT["README.md"], re.MULTILINE)
    assert [name for name, _ in counts] == list(METHODS)
    rows = {row.method: row.trainable for row in published.count_all() if row.published.options in ({}, {"rank": 64})}
    assert dict(counts) == {name: f"{count / 1e6:.2f}" for name, count in rows.items()}


def test_the_readme_lists_every_notebook_under_its_title():
    listed = re.findall(r"^\| \[(.+?)\]\((notebooks/.+?)\)", TEXT["README.md"], re.MULTILINE)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    titles = [json.loads(path.read_text())["cells"][0]["source"][0].strip("# \n") for path in paths]
    assert [file for _, file in listed] == [f"notebooks/{path.name}" for path in paths]
    assert all(title.startswith(name) for (name, _), title in zip(listed, titles, strict=True))


@each_page
def test_make_targets_exist(page):
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT[page], re.MULTILINE)) <= known


# ------------------------------------------------------------------------------------------ links, files, layouts


@each_page
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT[page])
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing


@each_page
def test_named_files_exist(page):
    places = ("", "mtlora_lite", "tests", "notebooks")
    for name in re.findall(r"`([\w/.-]+\.(?:py|md|toml|lock|yml))`", TEXT[page]):
        assert any((ROOT / place / name).is_file() for place in places), name


@pytest.mark.parametrize("layout", [pascal_mt.LAYOUT, nyud_mt.LAYOUT], ids=lambda layout: layout.name)
def test_the_readmes_layout_is_the_readers(layout):
    (page,) = (block for block in blocks("README.md", "") if block.startswith(f"{layout.name}/"))
    for pattern in (pattern for patterns in layout.files.values() for pattern in patterns):
        assert pattern.format(id="<id>") in page
    assert f"{layout.splits}/<split>.txt" in page


def test_the_readmes_results_are_those_on_record():
    """One line per row of the comparison, in its order, with every number as it was written down."""
    section = TEXT["README.md"].split("## Results on the embedded scenes")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and " ± " in line]
    rows = json.loads((ROOT / "data/study.json").read_text())["rows"].values()
    for line, row in zip(lines, rows, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        digits = {task: 2 if task == "depth" else 1 for task in TASKS}
        expected = [f"{row[t]:.{digits[t]}f} ± {row[f'{t} std']:.{digits[t]}f}" for t in TASKS]
        gain = f"{row['delta_m']:+.1f} [{row['delta_m low']:+.1f}, {row['delta_m high']:+.1f}]"
        assert cells == [*expected, gain if row["delta_m high"] else "0"]


@each_page
def test_nothing_of_one_machine(page):
    assert str(ROOT.parent) + "/" not in TEXT[page]
    assert max(len(line) for line in TEXT[page].splitlines() if not line.startswith(("|", "!", '"'))) <= 120


def test_contributing_names_tables_that_exist():
    for module, name in re.findall(r"`(targets|metrics|viz|losses)\.(\w+)`", TEXT["CONTRIBUTING.md"]):
        assert hasattr(__import__(f"mtlora_lite.{module}", fromlist=[name]), name)
