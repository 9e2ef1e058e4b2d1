"""The launchers that people use start the command line on two processes, and tell it to stop."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BIN = Path(sys.executable).parent
LAUNCHERS = {
    "torchrun": [BIN / "torchrun", "--nproc-per-node", 2, "--master-port", 29731],
    # Which also starts processes without GPUs, if they are called several; --cpu asks for MPI.
    "accelerate": [
        BIN / "accelerate", "launch", "--multi_gpu", "--num_processes", 2, "--num_machines", 1,
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", 29732,
    ],
}  # fmt: skip
WORDS = [
    "-m", "mtlora_lite", "train", "--tasks", "semseg", "depth", "--img-size", 64, "--train-count", 8, "--val-count", 3,
    "--batch-size", 4, "--no-pretrained", "--options", "rank=2", "--decoder-options", "expansion=1",
]  # fmt: skip


def start(launcher, *words, env):
    line = [str(word) for word in [*LAUNCHERS[launcher], *WORDS, *words]]
    return subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_launcher_trains_on_two_processes(launcher, kernel_env, cache, tmp_path):
    env = kernel_env | {"MTLORA_CACHE": str(cache)}
    process = start(launcher, "--steps", 3, "--out", tmp_path / "run", env=env)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert said.count("Semantic segmentation") == said.count("Next: ") == 1
    state = json.loads((tmp_path / "run/checkpoints/step-00000003/state.json").read_text())["state"]
    assert state["surroundings"]["processes"] == 2
    assert {path.name for path in (tmp_path / "run/checkpoints/step-00000003").glob("random-*")} == {
        "random-0.safetensors", "random-1.safetensors",
    }  # fmt: skip


def test_a_launcher_that_is_stopped_leaves_a_run_that_goes_on(kernel_env, cache, tmp_path):
    env, out = kernel_env | {"MTLORA_CACHE": str(cache)}, tmp_path / "run"
    process = start("torchrun", "--steps", 400, "--out", out, env=env)
    while not (out / "log.jsonl").is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=600)[0]
    assert process.returncode != 0
    assert said.count("everything is saved. Go on with: ") == 1, said
    (folder,) = (out / "checkpoints").iterdir()
    saved = json.loads((folder / "state.json").read_text())["state"]["step"]
    assert saved == len((out / "log.jsonl").read_text().splitlines()) < 400
    again = start("torchrun", "--steps", 400, "--out", out, "--resume", env=env)
    while len((out / "log.jsonl").read_text().splitlines()) <= saved:
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.1)
    again.send_signal(signal.SIGINT)
    assert f"Going on in {out} after step {saved} of 400." in again.communicate(timeout=600)[0]


# What README tells a reader to type; forked processes, so a kernel that has already used the package.
CELLS = (
    "import mtlora_lite as ml\nfrom mtlora_lite.config import TrainConfig\nfrom accelerate import notebook_launcher",
    """config = TrainConfig(tasks=("semseg", "depth"), img_size=64, train_count=8, val_count=3, batch_size=4, steps=3,
    pretrained=False, options={"rank": 2}, decoder_options={"expansion": 1}, out=OUT)""",
    "notebook_launcher(ml.train, (config,), num_processes=2)",
    "import json\nstate = json.loads((OUT / 'checkpoints/step-00000003/state.json').read_text())['state']",
    "state['surroundings']['processes']",
)


def test_a_notebook_trains_on_two_processes(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("MTLORA_CACHE", str(cache))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = f"from pathlib import Path\nOUT = Path({str(tmp_path / 'run')!r})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in (first, *CELLS)])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    assert notebook.cells[-1].outputs[0]["data"]["text/plain"] == "2"
    assert {"report.md", "metrics.json", "model"} <= {path.name for path in (tmp_path / "run").iterdir()}
