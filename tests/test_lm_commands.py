"""``mtlora lm``: the embedded model from training to scores, models and data of one's own, and what is refused."""

import json
import shutil

import pytest
import torch

from mtlora_lite.cli import main
from mtlora_lite.lm import runs
from mtlora_lite.lm_commands import LM_COMMANDS, preset_options

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'mtlora-lite[lm]'")

ROWS = [
    {"instruction": "say", "input": f"{letter}b", "output": f"the correct answer is {answer}", "task_id": task}
    for letter, answer, task in [("a", "true", 0), ("c", "false", 0), ("d", "solution1", 1), ("e", "solution2", 1)]
]


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "TRAIN_COUNT", 2)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))


def test_the_embedded_model_is_trained_saved_resumed_and_scored(capsys, tmp_path):
    train = ["lm", "train", "--steps", "2", "--batch-size", "4", "--out", "run"]
    assert main(train) == 0
    said = capsys.readouterr().out
    assert f"{16 * (8 * 64 + 2 * 64 * 8 + 8 * 64 + 8 * 2):,} parameters trained in 2 steps" in said
    assert main(["lm", "eval", "--run", "run", "--count", "2"]) == 0
    said = capsys.readouterr().out
    assert "mean over tasks" in said
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    assert list(scores) == ["reverse", "sort", "next", "rotate", "largest", "parity", "sum", "colour"]
    assert all(each["examples"] == 2 for each in scores.values())
    answers = json.loads((tmp_path / "run" / "answers.json").read_text())["answers"]
    assert len(answers) == 16
    assert main(train) == 2
    assert "run holds a run already: go on with it by --resume" in capsys.readouterr().err
    assert main([*train, "--resume", "--rank", "4"]) == 2
    assert "begun with another rank" in capsys.readouterr().err
    assert main([*train, "--resume"]) == 0
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert main([*train, "--resume"]) == 2
    assert "run holds trained adapters and no checkpoint to go on from" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_anew(resume, monkeypatch, capsys, tmp_path):
    train = ["lm", "train", "--steps", "1", "--batch-size", "4", "--out", "run"]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transformers.Trainer.training_step", stop)
        assert main(train) == 130
    assert (tmp_path / "run" / "checkpoints").is_dir()
    capsys.readouterr()
    assert main([*train, *resume, "--rank", "4"]) == 0
    said = "There is nothing to resume in run: starting from the beginning."
    assert (said in capsys.readouterr().err) == bool(resume)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["rank"] == 4


def test_examples_of_ones_own_and_a_model_in_a_folder(capsys, tmp_path):
    import transformers

    from mtlora_lite.lm.embedded import new_tokenizer

    config = transformers.BartConfig(
        vocab_size=100, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, bos_token_id=1, eos_token_id=2,
        pad_token_id=0, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    transformers.BartForConditionalGeneration(config).save_pretrained("bart")
    new_tokenizer().save_pretrained("bart")
    options = ["--model", "bart", "--data", "rows.json", "--steps", "1", "--batch-size", "2", "--cutoff", "200"]
    assert main(["lm", "train", *options, "--preset", "commonsense", "--out", "run",
                 "--checkpointing", "--targets", "q_proj", "v_proj"]) == 0  # fmt: skip
    assert "say neither the batch size" in capsys.readouterr().out
    assert main(["lm", "eval", "--run", "run", "--data", "rows.json", "--num-beams", "2", "--out", "scores"]) == 0
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())["scores"]
    assert list(scores) == ["boolq", "piqa"]
    capsys.readouterr()
    assert main(["lm", "eval", "--run", "run"]) == 2
    assert capsys.readouterr().err == (
        "error: The run in run was trained on rows.json, not on the puzzles: say by --data FILE what to score it on.\n"
    )
    assert not (tmp_path / "run" / "scores.json").exists()
    assert json.loads((tmp_path / "run" / "adapters" / "adapters.json").read_text())["adaptation"]["scale"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--preset", "comonsense"], "Unknown preset 'comonsense'"),
        (["train", "--preset", "image_text"], "cannot be trained here. It needs VL-BART"),
        (["train", "--preset", "glue"], "Where are the examples of glue? Say it by --data FILE"),
        (["train", "--data", "rows.json"], "How many tasks are there in rows.json? Say it by --num-tasks"),
        (["train", "--data", "rows.json", "--num-tasks", "1"], "example 2: 'task_id' must be 0 to 0, got 1"),
        (["train", "--data", "gone.json", "--num-tasks", "1"], "gone.json"),
        (["train", "--model", "gone"], "There is no language model in 'gone': no folder"),
        (["train", "--model", "."], "There is no language model in '.'"),
        (["train", "--method", "mtlora"], "Unknown method 'mtlora'. Methods: mtl_lora, lora, task_lora"),
        (["train", "--targets", "q_porj"], "No linear layer is named 'q_porj'"),
        (["train", "--template", "alpacca"], "Unknown template 'alpacca'"),
        (["train", "--precision", "int3"], "Unknown precision 'int3'"),
        (["train", "--schedule", "cosin"], "Unknown schedule 'cosin'"),
        (["train", "--rank", "0"], "rank of at least 1"),
        (["train", "--cutoff", "3", "--steps", "1"], "No answer of 16 examples is within the cutoff of 3 tokens"),
        (["train", "--num-tasks", "3"], "The puzzles are of 8 tasks, and num_tasks is 3: leave it out"),
        (["train", "--batch-size", "0"], "batch_size is at least 1, not 0."),
        (["train", "--steps", "0"], "steps is at least 1, not 0."),
        (["train", "--save-every", "-1"], "save_every is at least 0, not -1."),
        (["train", "--epochs", "0"], "epochs is a number above 0, not 0.0."),
        (["train", "--lr", "nan"], "lr is a number above 0, not nan."),
        (["eval", "--run", "gone"], "gone holds no run of lm train"),
        (["eval", "--count", "0"], "count is at least 1, not 0."),
        (["eval", "--batch-size", "-1"], "batch_size is at least 1, not -1."),
        (["eval", "--max-new-tokens", "0"], "max_new_tokens is at least 1, not 0."),
        (["eval", "--num-beams", "0"], "num_beams is at least 1, not 0."),
        (["compare", "--lrs"], "needs a learning rate and a seed"),
        (["compare", "--count", "1"], "count is at least 2, not 1."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, message, capsys):
    assert main(["lm", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert len([line for line in error.splitlines() if line.startswith("error: ")]) == 1


def test_presets_are_the_defaults_of_their_runs_and_options_win():
    assert preset_options(["lm", "train", "--preset=commonsense"])["lr"] == 3e-4
    assert preset_options(["lm", "train"])["template"] == "bare"
    assert preset_options(["lm", "train", "--data", "rows.json"]) == {}


def test_lm_alone_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["lm"])
    said = capsys.readouterr().out
    assert all(name in said for name in LM_COMMANDS)


def test_the_comparison_has_a_row_per_method_and_says_what_it_did(capsys, tmp_path):
    options = ["--steps", "1", "--batch-size", "4", "--train-count", "2", "--count", "2"]
    assert main(["lm", "compare", *options, "--lrs", "1e-3", "--seeds", "0", "1", "--out", "study"]) == 0
    record = json.loads((tmp_path / "study" / "puzzles.json").read_text())
    counts = {name: row["trained"] for name, row in record["rows"].items()}
    assert counts == {"lora": 16 * 2048, "task_lora": 16 * 2048, "mtl_lora": 16 * 2064}
    for row in record["rows"].values():
        assert list(row["runs"]) == ["0", "1"]
        both = torch.tensor([list(run.values()) for run in row["runs"].values()])
        assert row["mean"]["all"] == pytest.approx(both.mean().item())
        assert row["std"]["all"] == pytest.approx(both.mean(1).std().item())
    assert "MTL-LoRA, rank 8, n = 2" in capsys.readouterr().out
