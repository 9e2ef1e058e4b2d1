"""Examples for language models: files, prompts, tokens, batches, puzzles, and how answers are found and scored."""

import json

import pytest
import torch

from mtlora_lite.lm.data import Encoding, Example, prompt, read_examples
from mtlora_lite.lm.presets import PRESETS, find_answer, get_preset, score
from mtlora_lite.lm.puzzles import EXERCISES, FACTS, PUZZLES, exercises, puzzles

ROW = {"instruction": "Is it true?", "input": "Fish fly.", "output": "the correct answer is false", "task_id": 1}


def written(tmp_path, content):
    path = tmp_path / "data.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_examples_are_read_as_they_are_written(tmp_path):
    rows = [ROW, {k: v for k, v in ROW.items() if k != "input"} | {"task_id": 0, "answer": "false", "extra": 3}]
    first, second = read_examples(written(tmp_path, rows), num_tasks=2)
    assert read_examples(written(tmp_path, [rows[1] | {"input": None, "answer": None}]))[0].input == ""
    assert first == Example("Is it true?", "Fish fly.", "the correct answer is false", 1)
    assert second == Example("Is it true?", "", "the correct answer is false", 0, "false")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", r"data\.json is not JSON"),
        ({"a": 1}, r"must hold a JSON list of examples, with one at least; got \{\"a\": 1\}"),
        ([], "with one at least"),
        ([ROW, 3], "example 1 is not an object but 3"),
        ([ROW, ROW, {"instruction": "x", "input": ""}], "example 2 has no 'output'; there are: instruction, input"),
        ([ROW | {"task_id": "1"}], "example 0: 'task_id' must be a whole number, got \"1\""),
        ([ROW | {"task_id": True}], "'task_id' must be a whole number, got true"),
        ([ROW | {"output": 4}], "'output' must be a text, got 4"),
        ([ROW | {"task_id": 2}], "'task_id' must be 0 to 1, got 2"),
        ([ROW | {"task_id": -1}], "'task_id' must be 0 to 1, got -1"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_examples(written(tmp_path, content), num_tasks=2)


def test_prompts_keep_braces_and_leave_out_an_input_that_is_not_there():
    assert prompt(Example("add", "{instruction}", "", 0), "bare") == "add {instruction}\n"
    assert prompt(Example("say {input}", "x", "", 0), "bare") == "say {input} x\n"
    assert prompt(Example("hello", "", "", 0), "bare") == "hello\n"
    assert prompt(Example("A", "B", "", 0), "alpaca").endswith(
        "### Instruction:\nA\n\n### Input:\nB\n\n### Response:\n"
    )
    assert "Input" not in prompt(Example("A", "", "", 0), "alpaca")
    with pytest.raises(ValueError, match=r"Unknown template 'alpacca'\. Templates: alpaca, bare"):
        prompt(Example("A", "", "", 0), "alpacca")


# --------------------------------------------------------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("transformers", reason="transformers is not installed: pip install 'mtlora-lite[lm]'")
    from mtlora_lite.lm.embedded import new_tokenizer

    return new_tokenizer()


def test_the_embedded_tokenizer_gives_back_what_it_was_given(tokenizer):
    text = "sort {ab} \\ ~\n  3+4"
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert len(tokenizer(text)["input_ids"]) == len(text) + 1


def test_the_loss_is_of_the_answer_alone_or_of_everything(tokenizer):
    example = Example("say", "ab", "ba", 3)
    row = Encoding(tokenizer, "bare").encode(example)
    assert tokenizer.decode(row["input_ids"]) == "<s>say ab\nba</s>"
    assert tokenizer.decode([label for label in row["labels"] if label != -100]) == "ba</s>"
    assert row["labels"][-3:] == row["input_ids"][-3:]
    assert row["task_ids"] == 3
    everything = Encoding(tokenizer, "bare", answer_only=False).encode(example)
    assert everything["labels"] == everything["input_ids"]
    cut = Encoding(tokenizer, "bare", cutoff=9).encode(example)
    assert tokenizer.decode(cut["input_ids"]) == "<s>say ab\nb"
    assert len(cut["labels"]) == len(cut["input_ids"]) == 9
    assert set(Encoding(tokenizer, "bare", cutoff=5).encode(example)["labels"]) == {-100}


def test_a_model_with_an_encoder_reads_the_prompt_and_writes_the_answer(tokenizer):
    row = Encoding(tokenizer, "bare", seq2seq=True).encode(Example("say", "ab", "ba", 3))
    assert tokenizer.decode(row["input_ids"]) == "<s>say ab\n"
    assert tokenizer.decode(row["labels"]) == "<s>ba</s>"


def test_batches_for_training_are_padded_right_and_prompts_left(tokenizer):
    encoding = Encoding(tokenizer, "bare")
    examples = [Example("say", "ab", "ba", 2), Example("say", "abcd", "d", 0)]
    batch = encoding.collate([encoding.encode(example) for example in examples])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (2, 12)
    assert batch["input_ids"][0, -1] == tokenizer.pad_token_id
    assert batch["labels"][0, -1] == -100
    assert batch["attention_mask"].sum(1).tolist() == [11, 12]
    assert batch["task_ids"].tolist() == [2, 0]
    asked = encoding.encode_prompts(examples)
    assert tokenizer.batch_decode(asked["input_ids"]) == ["<pad><pad><s>say ab\n", "<s>say abcd\n"]
    assert asked["attention_mask"].sum(1).tolist() == [8, 10]
    assert torch.equal(asked["task_ids"], batch["task_ids"])
    short = Encoding(tokenizer, "bare", cutoff=4).encode_prompts(examples)
    assert tokenizer.batch_decode(short["input_ids"]) == [" ab\n", "bcd\n"]  # the end is what asks


# -------------------------------------------------------------------------------------------------------------- puzzles


def test_puzzles_have_right_answers():
    wanted = {
        "reverse": ("dbca", "acbd"), "sort": ("dbca", "abcd"), "next": ("ajc", "bad"), "rotate": ("dbca", "cadb"),
        "largest": ("dbca", "d"), "parity": ("dbcaa", "odd"), "sum": ("3+9+6", "18"),
    }  # fmt: skip
    for task, (text, answer) in wanted.items():
        assert PUZZLES[task][1](text) == answer
    assert list(PUZZLES) == [*wanted, "colour"]


def test_puzzles_are_the_same_for_everybody_and_tested_on_inputs_that_training_has_not():
    train, test = puzzles("train", 300), puzzles("test", 50)
    assert test == puzzles("test", 50)
    assert test != puzzles("val", 50)
    assert [example.task_id for example in test] == [task for task in range(8) for _ in range(50)]
    assert [example.instruction for example in test[::50]] == list(PUZZLES)
    seen = {example.input for example in train + exercises(3000)} - set(FACTS)
    assert not seen & {example.input for example in test + exercises(300, held_out=True)}
    assert {example.input for example in test[-50:]} <= {example.input for example in train[-300:]}  # facts are taught
    with pytest.raises(ValueError, match=r"no split 'tset' of the puzzles\. Splits: train, val, test"):
        puzzles("tset", 1)


def test_no_exercise_is_a_puzzle():
    """No rule that the model was pre-trained on gives the answers of a puzzle."""
    assert not set(EXERCISES) & set(PUZZLES)
    compared = 0
    for task_id, (puzzle, (make, solve)) in enumerate(PUZZLES.items()):
        inputs = [example.input for example in puzzles("test", 60) if example.task_id == task_id]
        for name, (other, rule) in EXERCISES.items():
            if other is make:  # of the same kind of input
                compared += 1
                assert sum(rule(text) == solve(text) for text in inputs) < 0.3 * len(inputs), (puzzle, name)
    assert compared == 6 * 11


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("task", "text", "answer"),
    [
        ("boolq", " the correct answer is True.", "true"),
        ("piqa", "solution2 because solution1 is wrong", "solution2"),
        ("openbookqa", "the correct answer is answer4", "answer4"),
        ("openbookqa", "answer: answer45, answer5", "answer5"),
        ("hellaswag", "I do not know", ""),
        ("hellaswag", "ending5", ""),
        ("winogrande", "Option1", "option1"),
    ],
)
def test_answers_are_found_in_what_was_said(task, text, answer):
    assert find_answer(text, PRESETS["commonsense"].patterns[task]) == answer


def test_scores_are_shares_of_exact_matches():
    preset = get_preset("commonsense")
    examples = [Example("", "", "the correct answer is true", 0)] * 3 + [Example("", "", "long text", 1, "solution1")]
    scores = score(examples, ["true", "false", "maybe", "it is solution1"], preset.tasks, preset.patterns)
    assert scores == {
        "boolq": {"accuracy": pytest.approx(100 / 3), "examples": 3, "unanswered": 1},
        "piqa": {"accuracy": 100.0, "examples": 1, "unanswered": 0},
    }
    nothing = score([Example("", "", "no answer here", 0)], ["nor here"], preset.tasks, preset.patterns)
    assert nothing["boolq"]["accuracy"] == 0  # nothing found is never right
    plain = score([Example("", "", "a b", 0)] * 2, [" a  b\n", "A b"], ["any"], {})
    assert plain["any"]["accuracy"] == 50


def test_a_whole_text_may_be_the_output_or_the_short_answer_and_what_is_found_the_answer_alone():
    example = Example("", "", "the correct answer is positive", 0, "positive")
    said = ["the correct answer is positive", "positive\n", "the correct answer is negative", ""]
    assert score([example] * 4, said, ["sst2"], {})["sst2"]["accuracy"] == 50
    example = Example("", "", "not solution1 but solution2", 0, "solution2")
    assert score([example] * 2, ["solution2", "solution1"], ["piqa"], {"piqa": "solution[12]"})["piqa"] == {
        "accuracy": 50.0, "examples": 2, "unanswered": 0,
    }  # fmt: skip


def test_presets_hold_the_released_settings():
    commonsense, image_text = PRESETS["commonsense"], PRESETS["image_text"]
    assert (commonsense.options["rank"], commonsense.options["scale"] * 8, commonsense.options["num_up"]) == (8, 16, 3)
    assert commonsense.tasks[5:7] == ("ARC-Challenge", "ARC-Easy")
    assert image_text.options["scale"] * image_text.options["rank"] == 16
    assert all(set(preset.patterns) in (set(), set(preset.tasks)) for preset in PRESETS.values())
    with pytest.raises(ValueError, match=r"Unknown preset 'comonsense'\. Presets: puzzles, commonsense"):
        get_preset("comonsense")
