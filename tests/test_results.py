"""The committed comparisons: made by the commands that stand beside them, and quoted as they came out."""

import json
import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from mtlora_lite.cli import main
from mtlora_lite.metrics import delta_m
from mtlora_lite.study.tables import command_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "data/results"
FOLDERS = sorted(str(path.parent.relative_to(RESULTS)) for path in RESULTS.rglob("table.json"))
PAGES = sorted({name.split("/")[0] for name in FOLDERS})  # parts of one comparison, tasks/1, tasks/2, ..., share a page
GAIN = "{delta_m:+.1f} [{delta_m low:+.1f}, {delta_m high:+.1f}]"
FILES = {"report.md", "table.json", "table.csv", "better.csv", "gains.png", "pareto.png", "published.png"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """{name: the words that ``run.sh`` gives ``mtlora``}."""
    folder = tmp_path_factory.mktemp("results")
    script = folder / "data/results/run.sh"
    script.parent.mkdir(parents=True)
    script.write_text((RESULTS / "run.sh").read_text())
    script.chmod(0o755)
    stand_in = folder / "mtlora"
    files = " ".join(f'"$3"/{name}' for name in FILES)  # mtlora compare --out FOLDER ...
    stand_in.write_text(f'#!/bin/sh\nmkdir -p "$3" && touch {files}\nprintf "%s\\n" "$@" > called.txt\n')
    stand_in.chmod(0o755)
    found = {}
    for name in FOLDERS:
        subprocess.run([script, name], check=True, env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})
        found[name] = (folder / "called.txt").read_text().splitlines()
    return found


@pytest.mark.parametrize("name", FOLDERS)
def test_results_were_made_by_the_script_as_it_stands(name, commands, monkeypatch):
    configs = []
    monkeypatch.setattr("mtlora_lite.study.compare", lambda config: configs.append(config))
    monkeypatch.setattr("mtlora_lite.study.format_table", lambda results, tasks: "")
    assert main(commands[name]) == 0
    recorded = json.loads((RESULTS / name / "table.json").read_text())
    expected = command_of(configs[0]).partition(" compare ")[2]  # before it stands where ``mtlora`` lies here
    assert recorded["command"] == f"mtlora compare {expected}"
    assert list(recorded["rows"]) == list(configs[0].methods)
    assert {path.name for path in (RESULTS / name).iterdir()} >= FILES


def quoted(page):
    """(folder, row, Δm) of every cell of a table that quotes one: | `row` | ... | +1.2 [+0.3, +2.1] | ... |.

    Its folder is the page's, one that a comment names, or that of a part whose report is linked in the same line.
    """
    folder = page.parent.name
    for line in page.read_text().splitlines():
        if line.startswith("<!-- from "):
            folder = line.split()[2]
        if part := re.search(r"\((\w+)/report\.md\)", line):
            folder = f"{page.parent.name}/{part[1]}"
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and (row := re.fullmatch("`(.+)`", cells[1])):
            for cell in cells[2:]:
                if re.fullmatch(r"[+−-]\d+\.\d \[.*\]", cell):
                    yield folder, row[1], cell


@pytest.mark.parametrize("name", ["methods", "longer"])
def test_gains_without_human_parts_follow_from_the_scores(name):
    rows = json.loads((RESULTS / name / "table.json").read_text())["rows"]
    others = ("semseg", "sal", "normals")
    alone = {task: rows["single_task"][task] for task in others}
    expected = {name: f"{delta_m({task: row[task] for task in others}, alone):+.1f}" for name, row in rows.items()}
    lines = [line for line in (RESULTS / name / "README.md").read_text().splitlines() if line[:3] in ("| r", "| `")]
    header, *quotes = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert {cells[1].strip("`"): cells[header.index("without parts")] for cells in quotes} == expected


def test_what_longer_runs_are_beside_is_the_comparison_of_methods():
    before, after = (json.loads((RESULTS / name / "table.json").read_text())["rows"] for name in ("methods", "longer"))
    lines = [line for line in (RESULTS / "longer/README.md").read_text().splitlines() if line[:3] in ("| r", "| `")]
    header, *quotes = [[cell.strip() for cell in line.split("|")] for line in lines]
    place = header.index("300 steps, 800 scenes")
    found = {cells[1].strip("`"): cells[place] for cells in quotes}
    assert found == {name: f"{before[name]['delta_m']:+.1f}" for name in after}


def test_the_tables_of_backbones_and_decoders_are_the_comparisons():
    rows = json.loads((RESULTS / "backbones/table.json").read_text())["rows"]
    own = pd.read_csv(RESULTS / "backbones/own.csv", index_col="row")
    tasks = ("semseg", "human_parts", "sal", "normals")
    apart, gains, scores = {}, {}, {}
    for decoder in ("hrnet", "segformer", "aspp", "deconv"):
        apart[decoder], gains[decoder] = [], []
        for backbone, label in (("swin", "Swin"), ("pvt_v2", "PVT v2")):
            pair = f"@backbone={backbone}_scenes_tiny@decoder={decoder}"
            frozen, adapted = rows[f"decoders_only{pair}"], rows[f"mtlora@rank=16{pair}"]
            gain = own.loc[f"mtlora@rank=16{pair}"]
            apart[decoder] += [GAIN.format(**frozen), GAIN.format(**adapted)]
            for kind, some in (("", tasks), (" without parts", [task for task in tasks if task != "human_parts"])):
                middle, low, high = gain[[f"{name}{kind}" for name in ("gain", "low", "high")]]
                gains[decoder].append(f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]")
                assert middle == pytest.approx(delta_m(*({t: row[t] for t in some} for row in (adapted, frozen))), 1e-3)
            scores[decoder, label] = [f"{frozen[t]:.1f} → {adapted[t]:.1f} ± {adapted[f'{t} std']:.1f}" for t in tasks]
            scores[decoder, label] += [f"{frozen['trainable'] / 1e6:.2f} → {adapted['trainable'] / 1e6:.2f}"]
    assert len(rows) == 2 * len(scores)
    assert len(own) == len(scores)
    blocks = (RESULTS / "backbones/README.md").read_text().split("| decoder ")[1:]
    tables = [[[cell.strip("` ") for cell in line.strip("|").split("|")] for line in block.splitlines()
               if line.startswith("| `")] for block in blocks]  # fmt: skip
    assert {first: others for first, *others in tables[0]} == apart
    assert {first: others for first, *others in tables[1]} == gains
    assert {(first, second): others for first, second, *others in tables[2]} == scores


def test_the_readmes_table_of_methods_is_the_comparisons():
    section = (ROOT / "README.md").read_text().split("### Every method")[1].split("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    rows = json.loads((RESULTS / "methods/table.json").read_text())["rows"]
    plain = rows["decoders_only"]
    expected = {
        ("0" if name == "single_task" else GAIN.format(**row),
         f"{row['semseg']:.1f}", f"{row['trainable'] / 1e6:.2f}", f"{row['step ms'] / plain['step ms']:.1f}",
         f"{row['predict ms'] / plain['predict ms']:.1f}")
        for name, row in rows.items()
    }  # fmt: skip
    assert len(lines) == 1 + len({row.split("@")[0] for row in rows}) + 4  # three of rank 64 and one more MTLoRA
    assert {tuple(cells[1:]) for cells in lines[1:]} <= expected


@pytest.mark.parametrize("name", [name for name in PAGES if name != "backbones"])  # whose tables are tested above
def test_gains_are_quoted_as_they_came_out(name):
    found = list(quoted(RESULTS / name / "README.md"))
    assert found
    for folder, row, cell in found:
        values = json.loads((RESULTS / folder / "table.json").read_text())["rows"][row]
        assert cell.replace("−", "-") == GAIN.format(**values), (folder, row)
