"""Language models of transformers with adapters: outputs, answers, gradients, Trainer, files, merging."""

import copy
import inspect
import json
import pickle

import accelerate
import pytest
import torch
from torch import nn

transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed: pip install 'mtlora-lite[lm]'"
)

import mtlora_lite as ml  # noqa: E402
from mtlora_lite.lm.adapt import adapt  # noqa: E402
from mtlora_lite.lm.adaptation import METHODS, Adaptation  # noqa: E402
from mtlora_lite.lm.data import Encoding, Example  # noqa: E402
from mtlora_lite.lm.embedded import new_tokenizer  # noqa: E402
from mtlora_lite.lm.training import FitOptions, fit  # noqa: E402
from mtlora_lite.mtl_lora import MTLLoRALinear, PerTaskLinear  # noqa: E402

TASKS, IDS, SCALE = 4, [2, 0, 3], 1.7
DECODER = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GROUPED = DECODER | {"num_key_value_heads": 2}
CONFIGS = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 8},
    "gpt_neox": DECODER,
    "t5": {"vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4,
           "decoder_start_token_id": 0, "dropout_rate": 0.0},
    "bart": {"vocab_size": 100, "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
             "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48,
             "max_position_embeddings": 64, "dropout": 0.0},
}  # fmt: skip
ADAPTED = {"llama": 8, "qwen2": 8, "qwen3": 8, "gpt_neox": 4, "t5": 24, "bart": 24}  # linears
SEARCHES = {"greedy": {}, "beams": {"num_beams": 3}}
each_model = pytest.mark.parametrize("kind", CONFIGS)


def plain(kind):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **CONFIGS[kind], pad_token_id=0, eos_token_id=1)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    return auto.from_config(config).eval()


def adapted(kind, method="mtl_lora", model=None):
    """A model whose adapters do something."""
    model = model or plain(kind)
    targets = ml.lm.TARGETS[kind]
    adapt(model, Adaptation(method, TASKS, targets, 3, SCALE, num_up=2, temperature=0.6))
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.3)
    return model


def batch(model):
    """Three samples, the second padded on the left."""
    tokens, mask = torch.randint(5, 100, (3, 7)), torch.ones(3, 7, dtype=torch.long)
    tokens[1, :2], mask[1, :2] = 0, 0
    made = {"input_ids": tokens, "attention_mask": mask}
    return made | ({"labels": torch.randint(5, 100, (3, 4))} if model.config.is_encoder_decoder else {})


def one(inputs, index):
    return {name: tensor[index : index + 1] for name, tensor in inputs.items()}


# -------------------------------------------------------------------------------------------------------------- outputs


@each_model
def test_a_fresh_model_is_the_model_it_adapts_and_only_adapters_are_trained(kind):
    base = plain(kind)
    inputs = batch(base)
    with torch.no_grad():
        expected = base(**inputs).logits
        model = ml.lm.inject_mtl_lora(base, TASKS, rank=3, num_up=2)
        assert torch.equal(model(**inputs, task_ids=IDS).logits, expected)
    layers = [module for module in model.modules() if isinstance(module, MTLLoRALinear)]
    assert len(layers) == ADAPTED[kind]
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 4 * ADAPTED[kind]
    assert all("lora_" in name for name in trained)


@each_model
def test_a_mixed_batch_is_its_samples_one_by_one(kind):
    model = adapted(kind)
    inputs = batch(model)
    logits = model(**inputs, task_ids=torch.tensor(IDS)).logits
    alone = torch.cat([model(**one(inputs, index), task_ids=task).logits for index, task in enumerate(IDS)])
    seen = inputs["attention_mask"].bool() if logits.shape[1] == 7 else slice(None)
    torch.testing.assert_close(logits[seen], alone[seen], atol=1e-5, rtol=1e-5)
    other = model(**inputs, task_ids=[1, 1, 1]).logits
    assert (other - logits).abs().amax((1, 2)).min() > 1e-3  # for every sample its task matters


@each_model
@pytest.mark.parametrize("search", SEARCHES)
def test_a_mixed_batch_is_answered_as_its_samples_are_one_by_one(kind, search):
    model = adapted(kind)
    inputs = {name: tensor for name, tensor in batch(model).items() if name != "labels"}
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False} | SEARCHES[search]
    together = model.generate(**inputs, task_ids=IDS, **options)
    for index, task in enumerate(IDS):
        assert torch.equal(model.generate(**one(inputs, index), task_ids=task, **options)[0], together[index])
    assert not torch.equal(model.generate(**inputs, task_ids=1, **options), together)
    uncached = model.generate(**inputs, task_ids=IDS, use_cache=False, **options)
    assert torch.equal(uncached, together)


def test_task_ids_are_asked_for_once_and_checked():
    model = adapted("llama")
    inputs = batch(model)
    with pytest.raises(ValueError, match="adapted to 4 tasks: call it with task_ids"):
        model(**inputs)
    with pytest.raises(ValueError, match="adapted to 4 tasks: call it with task_ids"):
        model.generate(**inputs, max_new_tokens=2)
    with pytest.raises(ValueError, match="There are 2 task_ids for 3 samples"):
        model(**inputs, task_ids=[0, 1])
    with pytest.raises(ValueError, match="There are 6 task_ids for 3 samples"):
        model.generate(inputs["input_ids"], task_ids=[0] * 6, max_new_tokens=2)
    with pytest.raises(ValueError, match="no task 4: the ids of 4 tasks are 0 to 3"):
        model(**inputs, task_ids=[0, 4, 1])
    with pytest.raises(ValueError, match="not used by the model: \\['task_idz'\\]"):
        model.generate(**inputs, task_ids=IDS, task_idz=IDS, max_new_tokens=2)
    assert model.task_ids.current is None  # nothing is left over, whatever went wrong


def test_one_update_for_all_takes_task_ids_and_one_per_task_minds_them():
    shared, separate = adapted("llama", "lora"), adapted("llama", "task_lora")
    inputs = batch(shared)
    assert torch.equal(shared(**inputs, task_ids=IDS).logits, shared(**inputs).logits)
    assert not torch.equal(separate(**inputs, task_ids=IDS).logits, separate(**inputs, task_ids=0).logits)
    counts = {name: sum(p.numel() for p in model.parameters() if p.requires_grad)
              for name, model in (("lora", shared), ("task_lora", separate))}  # fmt: skip
    assert counts["lora"] == 2 * 3 * (2 * (32 + 32) + 2 * (32 + 16))  # layers · rank · (in + out) of q, o and k, v
    assert counts["task_lora"] == TASKS * counts["lora"]


def test_one_update_for_all_is_that_of_peft():
    peft = pytest.importorskip("peft", reason="peft, which LoRA is held against, is not installed")
    ours = adapted("llama", "lora")
    theirs = peft.get_peft_model(
        plain("llama"),
        peft.LoraConfig(r=3, lora_alpha=3 * SCALE, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]),
    ).eval()
    state = {}
    for name, layer in ours.named_modules():
        if isinstance(layer, PerTaskLinear):
            state[f"base_model.model.{name}.lora_A.default.weight"] = layer.lora_A[0]
            state[f"base_model.model.{name}.lora_B.default.weight"] = layer.lora_B[0]
    assert not theirs.load_state_dict(state, strict=False).unexpected_keys
    inputs = batch(ours)
    torch.testing.assert_close(ours(**inputs).logits, theirs(**inputs).logits)


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("kind", ["llama", "t5"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_computing_twice_gives_the_same_gradients_also_for_two_batches_at_once(kind, reentrant):
    model = adapted(kind).train()
    inputs = batch(model)
    inputs.setdefault("labels", inputs["input_ids"])

    def gradients():
        model.zero_grad()
        losses = [model(**inputs, task_ids=ids, use_cache=False).loss for ids in (IDS, [1, 1, 0])]
        (losses[0] + 2 * losses[1]).backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}

    expected = gradients()
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": reentrant})
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-4)
    assert all(gradient.any() for gradient in expected.values())


def rows(encoding, tasks=TASKS):
    examples = [Example("say", "ab", "ba", index % tasks) for index in range(12)]
    return examples, [encoding.encode(example) | {"unknown": 0} for example in examples]


@pytest.mark.parametrize("kind", ["llama", "bart"])
@pytest.mark.parametrize("bf16", [False, True])
def test_trainer_keeps_task_ids_and_trains_adapters_alone(kind, bf16, tmp_path):
    base = plain(kind).to(torch.bfloat16 if bf16 else torch.float32)
    model = adapted(kind, model=base)
    encoding = Encoding(new_tokenizer(), "bare", 32, seq2seq=model.config.is_encoder_decoder)
    before = copy.deepcopy(model.state_dict())
    arguments = transformers.TrainingArguments(
        tmp_path, max_steps=3, per_device_train_batch_size=4, learning_rate=1e-2, bf16=bf16, report_to="none",
        save_strategy="no", use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=rows(encoding)[1], data_collator=encoding.collate)
    trainer.train()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_fit_goes_on_where_it_was(tmp_path):
    encoding = Encoding(new_tokenizer(), "bare", 32)
    examples, _ = rows(encoding)
    options = FitOptions(lr=1e-2, batch_size=4, steps=4, warmup=0, save_every=2)
    straight, halted = (ml.lm.inject_mtl_lora(plain("llama"), TASKS, rank=3, num_up=2) for _ in range(2))
    halted.load_state_dict(straight.state_dict())
    fresh = copy.deepcopy(straight)
    result = fit(straight, encoding, examples, options, tmp_path / "straight", quiet=True)
    assert result["steps"] == 4
    assert straight.config.use_cache
    names = {path.name for path in (tmp_path / "straight" / "checkpoint-2").iterdir()}
    assert {"adapters.json", "model.safetensors", "optimizer.pt"} <= names
    last = tmp_path / "straight" / "checkpoint-4"  # as if killed while it was written
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        (last / name).unlink()
    (last / "model.safetensors").write_bytes((last / "model.safetensors").read_bytes()[:100])
    fit(fresh, encoding, examples, options, tmp_path / "straight", resume=True, quiet=True)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name]), name
    fit(fresh, encoding, examples, FitOptions(batch_size=4, steps=4), tmp_path / "epochs", quiet=True)
    names = {path.name for path in (tmp_path / "epochs").iterdir()}
    assert names == {"checkpoint-3", "checkpoint-4"}  # after an epoch and at the end, if nothing else is said
    with pytest.raises(ValueError, match="no checkpoint in"):
        fit(halted, encoding, examples, options, tmp_path / "nowhere", resume=True)
    with pytest.raises(ValueError, match="No answer of 12 examples is within the cutoff of 3 tokens"):
        fit(halted, Encoding(new_tokenizer(), "bare", 3), examples, options, quiet=True)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_and_what_it_leaves_is_merged_saved_and_asked(precision, tmp_path):
    base = plain("llama").to(torch.bfloat16 if precision == "bf16" else torch.float32)
    model, encoding = ml.lm.inject_mtl_lora(base, TASKS, rank=3, num_up=2), Encoding(new_tokenizer(), "bare", 32)
    options = FitOptions(lr=1e-2, batch_size=4, steps=4, warmup=0, precision=precision)
    result = fit(model, encoding, rows(encoding)[0], options, tmp_path / "checkpoints", quiet=True)
    assert 0 < result["loss"] < 10
    assert all(layer.lora_B.any() for layer in model.modules() if isinstance(layer, PerTaskLinear))
    inputs = batch(model)
    expected = model(**inputs, task_ids=3).logits
    torch.testing.assert_close(ml.lm.merge_task(model, 3)(**inputs).logits.float(), expected, atol=0.05, rtol=0.05)
    loaded = ml.lm.load_adapters(plain("llama").to(base.dtype), ml.lm.save_adapters(model, tmp_path / "adapters"))
    torch.testing.assert_close(loaded(**inputs, task_ids=3).logits.float(), expected, atol=0.05, rtol=0.05)


# ----------------------------------------------------------------------------------------------- copies, files, merging


@each_model
def test_a_merged_task_is_a_plain_model_with_equal_outputs(kind):
    model = adapted(kind)
    inputs, state = batch(model), copy.deepcopy(model.state_dict())
    merged = ml.lm.merge_task(model, 3)
    assert type(merged) is type(plain(kind))
    assert merged.state_dict().keys() == plain(kind).state_dict().keys()
    torch.testing.assert_close(merged(**inputs).logits, model(**inputs, task_ids=3).logits, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ValueError, match="no task 4"):
        ml.lm.merge_task(model, 4)
    with pytest.raises(ValueError, match=r"is not adapted: call lm\.inject_mtl_lora"):
        ml.lm.merge_task(merged, 0)


def test_a_model_trained_in_bf16_and_computing_twice_is_merged_into_one_that_is_plain_and_trains(tmp_path):
    model, encoding = adapted("llama", model=plain("llama").bfloat16()), Encoding(new_tokenizer(), "bare", 32)
    arguments = transformers.TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=4, bf16=True, report_to="none", save_strategy="no",
        use_cpu=True, disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    trainer = transformers.Trainer(model, arguments, train_dataset=rows(encoding)[1], data_collator=encoding.collate)
    trainer.train()
    merged, inputs = ml.lm.merge_task(model.eval(), 3), batch(model)
    assert merged(**inputs).logits.dtype == torch.bfloat16  # what Trainer put around it is gone
    unwrapped = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    expected = unwrapped(**inputs, task_ids=3).logits
    torch.testing.assert_close(merged(**inputs).logits, expected, atol=0.05, rtol=0.05)
    assert not torch.equal(unwrapped(**inputs, task_ids=0).logits, expected)
    merged.train()(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert all(parameter.grad is not None for parameter in merged.parameters())


def test_what_was_frozen_before_is_frozen_when_merged():
    base = plain("llama")
    base.model.embed_tokens.requires_grad_(False)
    merged = ml.lm.merge_task(adapted("llama", model=base), 1)
    frozen = {name for name, parameter in merged.named_parameters() if not parameter.requires_grad}
    assert frozen == {"model.embed_tokens.weight"}


def test_a_merged_model_is_saved_and_loaded_by_transformers_alone(tmp_path):
    model = adapted("qwen3")
    ml.lm.merge_task(model, 2).save_pretrained(tmp_path)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    inputs = batch(model)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs, task_ids=2).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_adapters_are_saved_alone_and_loaded(method, tmp_path):
    model = adapted("llama", method)
    ml.lm.save_adapters(model, tmp_path)
    weights = tmp_path / "model.safetensors"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 4 * trained < weights.stat().st_size < 4 * trained + 20_000
    loaded = ml.lm.load_adapters(plain("llama"), tmp_path)
    inputs = batch(model)
    assert torch.equal(loaded(**inputs, task_ids=IDS).logits, model(**inputs, task_ids=IDS).logits)
    assert loaded.adaptation == model.adaptation


def test_what_is_saved_is_the_state_that_is_given(tmp_path):
    """As Trainer does where the model's own tensors are pieces, or not there: under FSDP and ZeRO."""
    model, other = adapted("llama"), adapted("llama")
    for parameter in other.parameters():
        nn.init.normal_(parameter) if parameter.requires_grad else None
    state, inputs = other.state_dict(), batch(model)
    for layer in (module for module in model.modules() if isinstance(module, PerTaskLinear)):
        layer.lora_A.data = layer.lora_A.data[:0]  # as on a process that holds nothing of it
    model.save_pretrained(tmp_path, state_dict=state)
    loaded = ml.lm.load_adapters(plain("llama"), tmp_path)
    assert torch.equal(loaded(**inputs, task_ids=IDS).logits, other(**inputs, task_ids=IDS).logits)
    with pytest.raises(ValueError, match=r"not whole, .*q_proj\.lora_A is \(0, 32\) and not \(3, 32\): .*state_dict"):
        model.save_pretrained(tmp_path / "empty")
    name = next(name for name in state if "lora_" in name)
    with pytest.raises(ValueError, match=f"not whole, no {name}: "):
        other.save_pretrained(tmp_path / "empty", state_dict={key: state[key] for key in state if key != name})
    assert not (tmp_path / "empty").exists()


def test_adapters_of_other_weights_or_shapes_are_refused(tmp_path):
    ml.lm.save_adapters(adapted("llama"), tmp_path)
    other = plain("llama")
    nn.init.normal_(other.model.layers[1].self_attn.v_proj.weight)
    with pytest.raises(ValueError, match="for other weights than these: trained on some in float32"):
        ml.lm.load_adapters(other, tmp_path)
    assert repr(other) == repr(plain("llama"))  # as it was
    assert all(parameter.requires_grad for parameter in other.parameters())
    with pytest.raises(ValueError, match="loaded on weights in bfloat16"):
        ml.lm.load_adapters(plain("llama").bfloat16(), tmp_path)
    with pytest.raises(ValueError, match="for a model of type llama, this is of type qwen2"):
        ml.lm.load_adapters(plain("qwen2"), tmp_path)
    wider = transformers.LlamaConfig(**GROUPED | {"num_attention_heads": 2, "num_hidden_layers": 3})
    with pytest.raises(ValueError, match=r"another shape of model: .*lora_.* alone|another shape of model"):
        ml.lm.load_adapters(transformers.LlamaForCausalLM(wider), tmp_path)
    wider = transformers.LlamaConfig(**GROUPED | {"hidden_size": 48})
    with pytest.raises(ValueError, match=r"another shape of model: .*lora_A is \(3, 32\) there, and \(3, 48\) here"):
        ml.lm.load_adapters(transformers.LlamaForCausalLM(wider), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="cannot be read"):
        ml.lm.load_adapters(plain("llama"), tmp_path)
    (tmp_path / "adapters.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not as lm\.save_adapters writes it"):
        ml.lm.load_adapters(plain("llama"), tmp_path)
    with pytest.raises(ValueError, match="holds no adapters of a language model"):
        ml.lm.load_adapters(plain("llama"), tmp_path / "empty")


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_of_their_own(clone):
    model = adapted("llama")
    inputs = batch(model)
    copied = clone(model)
    assert type(copied) is type(model)
    assert torch.equal(copied(**inputs, task_ids=IDS).logits, model(**inputs, task_ids=IDS).logits)
    assert copied.task_ids is not model.task_ids
    assert {id(layer.ids) for layer in copied.modules() if isinstance(layer, PerTaskLinear)} == {id(copied.task_ids)}


# ------------------------------------------------------------------------------------------- models spread over devices


@pytest.mark.parametrize(
    "parts", [[""], ["model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb", "lm_head"]]
)
def test_a_model_that_accelerate_spreads_over_devices_is_adapted_trained_and_merged(parts):
    base, plan = plain("llama"), dict.fromkeys(parts, "cpu")
    expected, inputs = adapted("llama"), batch(base)
    model = adapted("llama", model=accelerate.dispatch_model(base, plan, force_hooks=True))
    model.load_state_dict(expected.state_dict())
    assert "task_ids" in inspect.signature(model.forward).parameters
    assert torch.equal(model(**inputs, task_ids=IDS).logits, expected(**inputs, task_ids=IDS).logits)
    options = {"max_new_tokens": 3, "do_sample": False}
    answers = model.generate(**inputs, task_ids=IDS, **options)
    assert torch.equal(answers, expected.generate(**inputs, task_ids=IDS, **options))
    with pytest.raises(ValueError, match="call it with task_ids"):
        model(**inputs)
    model(**inputs, labels=inputs["input_ids"], task_ids=IDS).loss.backward()
    assert all((p.grad is not None) == ("lora_" in name) for name, p in model.named_parameters())
    for each in (ml.lm.merge_task(model, 3), ml.lm.merge_task(copy.deepcopy(model), 3)):
        torch.testing.assert_close(each(**inputs).logits, ml.lm.merge_task(expected, 3)(**inputs).logits)
        assert "_hf_hook" in vars(each)


def test_weights_that_are_not_there_cannot_be_adapted():
    model = accelerate.cpu_offload(plain("llama"), "cpu")
    with pytest.raises(ValueError, match=r"layers\.0\.self_attn\.q_proj cannot be adapted: its weight is offloaded"):
        ml.lm.inject_mtl_lora(model, TASKS)
    assert not any(isinstance(module, PerTaskLinear) for module in model.modules())
    with torch.device("meta"):  # to count, for instance
        config = transformers.LlamaConfig(**GROUPED)
        assert isinstance(ml.lm.inject_lora(transformers.LlamaForCausalLM(config)), transformers.LlamaForCausalLM)


# -------------------------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("kind", ml.lm.TARGETS)
def test_every_row_of_targets_names_linears_of_attention(kind):
    config = transformers.AutoConfig.for_model(kind)
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    for name in ("num_hidden_layers", "encoder_layers", "decoder_layers", "num_decoder_layers"):
        if hasattr(config, name):
            setattr(config, name, 1)
    for name in ("layer_types", "attention_types", "attention_layers"):
        if getattr(config, name, None):
            setattr(config, name, getattr(config, name)[:1])
    with torch.device("meta"):
        model = auto.from_config(config)
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    for target in ml.lm.TARGETS[kind]:
        found = [name for name in linears if name.endswith(f".{target}")]
        assert found
        assert all("att" in name.lower() for name in found)


def test_unknown_models_and_targets_are_errors_that_say_what_exists():
    config = transformers.GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=4)
    with pytest.raises(
        ValueError,
        match=r"of type 'gpt2' is not known here \(it is for llama, .*\): give targets. Its linears: lm_head",
    ):
        ml.lm.inject_mtl_lora(transformers.GPT2LMHeadModel(config), 2)
    with pytest.raises(ValueError, match=r"No linear layer is named 'q_porj' or ends so\. There are: q_proj, k_proj"):
        ml.lm.inject_mtl_lora(plain("llama"), 2, targets=["v_proj", "q_porj"])
    tied = transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED, tie_word_embeddings=True))
    with pytest.raises(ValueError, match=r"lm_head cannot be adapted: it shares its weight with model\.embed_tokens"):
        ml.lm.inject_mtl_lora(tied, 2, targets=["lm_head"])
    with pytest.raises(ValueError, match="adapted already"):
        ml.lm.inject_lora(adapted("llama"))
    with pytest.raises(ValueError, match="rank of at least 1"):
        ml.lm.inject_task_lora(plain("llama"), 2, rank=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**GROUPED)),
        lambda: transformers.LlamaModel(transformers.LlamaConfig(**GROUPED)),
        lambda: nn.Sequential(nn.Linear(4, 4)),
    ],
)
def test_what_is_no_language_model_is_refused_as_it_is(make, tmp_path):
    model = make()
    before = (repr(model), [parameter.requires_grad for parameter in model.parameters()])
    with pytest.raises(
        ValueError,
        match=f"This {type(model).__name__} is no causal or sequence-to-sequence model: load it by AutoModelForCausal",
    ):
        ml.lm.inject_lora(model, targets=["q_proj"] if hasattr(model, "config") else ["0"])
    assert (repr(model), [parameter.requires_grad for parameter in model.parameters()]) == before
    with pytest.raises(ValueError, match="no causal or sequence-to-sequence model"):
        ml.lm.load_adapters(model, ml.lm.save_adapters(adapted("llama"), tmp_path))


def test_a_failed_injection_leaves_the_model_as_it_was():
    model = plain("llama")
    with pytest.raises(ValueError, match="temperature"):
        ml.lm.inject_mtl_lora(model, 2, temperature=0)
    assert type(model) is type(plain("llama"))
    assert not any(isinstance(module, PerTaskLinear) for module in model.modules())


def test_task_ids_are_in_the_signature_and_the_class_keeps_its_name():
    model = adapted("llama")
    names = list(inspect.signature(model.forward).parameters)
    assert names == [*list(inspect.signature(plain("llama").forward).parameters)[:-1], "task_ids", "kwargs"]
    assert type(model).__name__ == "LlamaForCausalLM"
    assert isinstance(model, transformers.LlamaForCausalLM)


def test_saving_tells_how_a_model_is_adapted(tmp_path):
    adapted("t5").save_pretrained(tmp_path)
    record = json.loads((tmp_path / "adapters.json").read_text())
    assert record["adaptation"] | {"rank": 3, "num_tasks": 4, "scale": SCALE} == record["adaptation"]
    assert record["base"]["model_type"] == "t5"
