"""The command line through its entry point: help that names everything, and one line for whatever is wrong."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from mtlora_lite import cli, command_line
from mtlora_lite.cli import COMMANDS, main
from mtlora_lite.config import read_option
from mtlora_lite.data_commands import DATA_COMMANDS
from mtlora_lite.lm_commands import LM_COMMANDS
from mtlora_lite.methods import METHODS
from mtlora_lite.paths import command
from mtlora_lite.prepared import Prepared

ROOT = Path(__file__).parents[1]

# Every command, by the words that call it.
COMMAND_LINES = {name: config for name, (config, _) in COMMANDS.items()}
COMMAND_LINES |= {f"data {name}": config for name, (config, _) in DATA_COMMANDS.items()}
COMMAND_LINES |= {f"lm {name}": config for name, (config, _) in LM_COMMANDS.items()}

pytestmark = pytest.mark.usefixtures("cache")


def helptext(capsys, *arguments):
    """What --help prints, without the frames around it."""
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return re.sub(r"[│|╭╮╰╯─+]", " ", capsys.readouterr().out)


# -------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_help_names_and_explains_every_option(name, capsys):
    config = COMMAND_LINES[name]
    text = helptext(capsys, *name.split())
    listed = re.findall(r"^ +--([a-z-]+)", text, re.MULTILINE)
    for option in dataclasses.fields(config):
        positional = option.default is option.default_factory is dataclasses.MISSING
        positional |= option.name in command_line.POSITIONAL
        assert positional or option.name.replace("_", "-") in listed
        documented = "".join(base.__doc__ for base in config.__mro__[:-1])
        description = re.search(rf"^ +{option.name}: (.*)$", documented, re.MULTILINE)[1]
        assert description in " ".join(text.split())
    assert config.__doc__.splitlines()[0] in " ".join(text.split())


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_help_shows_no_default_that_says_nothing_and_no_path_of_this_machine(name, capsys):
    text = helptext(capsys, *name.split())
    assert not re.search(r"default:\s*\)|None|``", text)
    assert str(ROOT) not in "".join(text.split())


def test_the_first_help_lists_commands_and_methods(capsys):
    text = helptext(capsys)
    for name in COMMANDS:
        assert f"• {name}" in text
    for name, method in METHODS.items():
        assert re.search(rf"^  {name} +{re.escape(method.summary)}$", text, re.MULTILINE)


def test_the_first_help_says_one_sentence_of_each_command(capsys):
    said = " ".join(helptext(capsys).split())
    assert all(config.__doc__.partition("\n")[0] in said for config, _ in COMMANDS.values())
    assert "The forms that --to names" in COMMANDS["export"][0].__doc__
    assert "The forms" not in said


@pytest.mark.parametrize("words", [["--help"], ["params", "--all"]], ids=" ".join)
def test_a_reader_who_has_seen_enough_is_told_nothing(words):
    running = subprocess.Popen(
        [sys.executable, "-m", "mtlora_lite", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    running.stdout.close()  # as head does after its lines; here before the first
    assert (running.stderr.read().decode(), running.wait()) == ("", 128 + signal.SIGPIPE)


# --------------------------------------------------------------------------------------------------------- bad input

SMALL = ["--no-pretrained", "--img-size", "32", "--train-count", "4", "--val-count", "2", "--batch-size", "2"]
WRONG = {
    "task": (["train", "--tasks", "semsge"], "Unknown task 'semsge'. Did you mean 'semseg'"),
    "task given twice": (["train", "--tasks", "sal", "sal"], "repeated: sal"),
    "method": (["train", "--method", "mtlroa"], "Unknown method 'mtlroa'. Did you mean 'mtlora'"),
    "method's option": (["train", "--options", "rnak=4"], "no option 'rnak'. Did you mean 'rank'"),
    "decoder": (["train", *SMALL, "--decoder", "unet"], "Unknown decoder 'unet'.* There are: hrnet"),
    "decoder's option": (["train", *SMALL, "--decoder-options", "wide=2"], "no option 'wide'"),
    "backbone": (["train", "--backbone", "swin_tinny"], "Unknown backbone 'swin_tinny'"),
    "size": (["train", "--img-size", "100"], "not a multiple of 32"),
    "data folder": (["train", *SMALL, "--data", "nowhere"], "no data folder nowhere"),
    "split": (["train", *SMALL, "--train-split", "dev"], "No split 'dev' of the scenes; choose one of train"),
    "count": (["train", *SMALL, "--train-count", "0"], "at least 1"),
    "batch": (["train", *SMALL, "--batch-size", "5"], "4 training images do not fill a batch of 5"),
    "no checkpoint to score": (["eval", "nowhere"], "nowhere holds no saved model"),
    "data to score on": (["eval", "CHECKPOINT", "--data", "nowhere"], "no data folder nowhere"),
    "split to score on": (["eval", "CHECKPOINT", "--split", "dev"], "No split 'dev'"),
    "protocol": (["eval", "CHECKPOINT", "--count", "2", "--protocol", "x"], "Unknown protocol 'x'. There are: paper"),
    "no photo": (["predict"], "No photo given. Name image files, videos or folders: .* predict PHOTO.jpg"),
    "no checkpoint to predict with": (["predict", "a.jpg", "--checkpoint", "nowhere"], "nowhere holds no saved model"),
    "task to predict": (["predict", "PHOTO", "--checkpoint", "CHECKPOINT", "--tasks", "sal"], "no task 'sal'"),
    "device": (["predict", "PHOTO", "--checkpoint", "CHECKPOINT", "--device", "tpu"], "no device 'tpu' here. .*: cpu"),
    "frames a second": (["predict", "PHOTO", "--fps", "0"], "--fps is more than 0, got 0"),
    "photos at once": (["predict", "PHOTO", "--batch-size", "0"], "--batch-size is at least 1, got 0"),
    "file that is no model": (["predict", "PHOTO", "--checkpoint", "PHOTO"], "photo.png is no ONNX graph"),
    "out is a file": (["predict", "PHOTO", "--checkpoint", "CHECKPOINT", "--out", "PHOTO"], "photo.png"),
    "row": (["compare", "--methods", "mtlroa"], "Unknown method 'mtlroa'. Did you mean"),
    "baseline": (["compare", "--methods", "mtlora", "--baseline", "full"], "'full' is not among the rows mtlora"),
    "split to compare on": (["compare", "--data", "SAMPLE"], "No split 'test'"),
    "data set to get": (["data", "download", "PASCAL"], "Unknown data set 'PASCAL'. Data sets: PASCAL_MT, NYUD_MT"),
    "archive": (["data", "download", "--archive", "nowhere"], "no archive nowhere"),
    "archive that is none": (["data", "download", "--archive", "photo.png", "--out", "x"], "no tar or zip archive"),
    "folder to verify": (["data", "verify", "nowhere"], "no data folder nowhere"),
    "folder of something else": (["data", "verify", "."], "holds neither ImageSets"),
    "folder to prepare": (["data", "prepare", "nowhere", "--out", "x"], "no data folder nowhere"),
    "folder for what is prepared": (["data", "prepare", "SAMPLE", "--out", "."], "not empty"),
    "nowhere to prepare": (["data", "prepare", "SAMPLE"], "Say where .*data prepare .*sample --out FOLDER"),
    "on_error": (["data", "prepare", "SAMPLE", "--out", "x", "--on-error", "x"], "Unknown on_error 'x'"),
    "list to count": (["data", "stats", "SAMPLE", "--split", "test"], "No split 'test'"),
    "rank": (["params", "--options", "rank=[1,2]", "--method", "mtlora"], "rank"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_in_one_line(what, checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    places = {"CHECKPOINT": checkpoint, "PHOTO": "photo.png", "SAMPLE": ROOT / "data" / "sample"}
    arguments, message = WRONG[what]
    assert main([str(places.get(word, word)) for word in arguments]) == 2
    seen = (line.split("\r")[-1] for line in capsys.readouterr().err.split("\n"))  # progress bars wipe themselves out
    (line,) = (line for line in seen if line.strip())
    assert line.startswith("error: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "perpare"], "perpare"),
        ([], "demo, train, eval, predict, compare, params"),
        (["trian"], "trian"),
        (["train", "--stepz", "3"], "--steps"),
        (["train", "--steps", "x"], "--steps"),
        (["train", "--options", "rank"], "KEY=VALUE"),
        (["eval"], "FOLDER"),
    ],
)
def test_what_cannot_be_parsed_ends_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, "demo", (COMMANDS["demo"][0], interrupted))
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_messages_name_the_program_as_it_can_be_typed(tmp_path, monkeypatch):
    program = tmp_path / "here" / "bin" / "mtlora"
    program.parent.mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    assert command() == "python -m mtlora_lite"
    program.touch(mode=0o755)
    assert command() == str(Path("bin", "mtlora"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command() == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert command() == "mtlora"


# ----------------------------------------------------------------------------------------------- the small commands


def test_options_are_json_or_words():
    words = ["rank=4", "scale=[1,2,3,4]", "combine=addition", 'task_rank={"sal": 2}', "task_scale=null", "name=a=b"]
    expected = [4, [1, 2, 3, 4], "addition", {"sal": 2}, None, "a=b"]
    assert [read_option(word)[1] for word in words] == expected


def test_params_of_the_papers_configurations(monkeypatch, capsys):
    monkeypatch.setattr(cli, "PAPER_RANKS", (16,))
    assert main(["params"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert re.findall(r"\S+ r16", header) == ["mtlora r16", "mtlora_plus r16"]
    counts = {" ".join(title): (ours, plus) for *title, ours, plus in map(str.split, rows)}
    assert counts["trainable"] == ("4,953,146", "3,469,370")  # the paper's table 1: 4.95 M and 3.47 M
    assert counts["TA-LoRA merging"] == ("0", "64,512")
    assert ("0", "0") not in counts.values()


def test_params_of_one_model(capsys):
    options = ["--backbone", "swin_scenes_tiny", "--img-size", "64", "--tasks", "sal", "--options", "rank=3"]
    assert main(["params", "--method", "mtlora", *options]) == 0
    one = capsys.readouterr().out
    assert main(["params", "--method", "mtlora", *options[:-1], "rank=6"]) == 0
    two = capsys.readouterr().out
    count = [int(re.search(r"TA-LoRA mlp +([\d,]+)", text)[1].replace(",", "")) for text in (one, two)]
    assert 2 * count[0] == count[1]


def test_eval_writes_what_it_prints(checkpoint, tmp_path, capsys):
    out = tmp_path / "scores.json"
    assert main(["eval", str(checkpoint), "--data", str(ROOT / "data/sample"), "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["images"] == 8
    assert set(record["metrics"]) == {"semseg", "depth"}
    printed = capsys.readouterr().out
    assert f"{record['metrics']['depth']['rmse']:.2f} m" in printed
    assert f"{record['metrics']['semseg']['mIoU']:.2f} %" in printed


def test_a_data_set_from_its_archive_to_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("PASCAL_MT.tgz", "w:gz") as archive:
        archive.add(ROOT / "data/sample", "PASCAL_MT")
    assert main(["data", "download", "--archive", "PASCAL_MT.tgz"]) == 0
    assert main(["data", "verify", "PASCAL_MT", "--workers", "1"]) == 0
    assert "Can be trained: semseg, human_parts, sal, normals, edge, depth." in capsys.readouterr().out
    assert main(["data", "stats", "PASCAL_MT", "--split", "val", "--workers", "1"]) == 0
    assert re.search(r"^person +\d+ +\d+\.\d\d %$", capsys.readouterr().out, re.MULTILINE)
    assert main(["data", "prepare", "PASCAL_MT", "--out", "fast", "--workers", "1"]) == 0
    assert re.search(r"24 images to prepare, about \d\.\d MB in fast", capsys.readouterr().out)
    assert len(Prepared("fast", "train", "sal")) == 16
    next(Path("PASCAL_MT/depth").iterdir()).write_bytes(b"")
    assert main(["data", "verify", "PASCAL_MT", "--workers", "1"]) == 1
    assert "Broken files: 1:" in capsys.readouterr().out
