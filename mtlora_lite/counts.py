"""How many parameters a model has, group by group."""

import re

import pandas as pd

from mtlora_lite.model import MultiTaskModel

# Rows of the parameter report: what they are called, and a pattern of the parameter names that belong to them.
REPORT_ROWS = (
    ("TA-LoRA qkv + proj", r"(qkv|proj)\.lora_ta_"),
    ("TA-LoRA mlp", r"fc[12]\.lora_ta_"),
    ("TA-LoRA merging", r"reduction\.lora_ta_"),
    ("TS-LoRA", r"lora_ts_|lora_norm"),
    ("MTL-LoRA A and B", r"\.lora_[AB]$"),
    ("MTL-LoRA Λ", r"\.lora_lambda$"),
    ("MTL-LoRA mixing", r"\.lora_mix$"),
    ("DoRA A and B", r"\.lora_[AB]\."),
    ("DoRA lengths", r"\.lora_magnitude_vector\."),
    ("adapters", r"\.adapter_(down|up)\."),
    ("prompts", r"\.prompt_tokens$"),
    ("scales and shifts", r"\.ssf_"),
    ("patch embedding", r"^backbone\.patch_embed\."),
    ("relative positions", r"relative_position_bias_table"),
    ("norms", r"^backbone\..*norm"),
    ("patch merging", r"^backbone\..*reduction"),
    ("linear layers", r"^backbone\."),
    ("fusion", r"^decoders\.[^.]+\.fusion\."),
    ("decoders", r"^decoders\."),
)


BIASES = "biases"  # where they are trained and the weights beside them are not


def parameter_report(model: MultiTaskModel) -> pd.DataFrame:
    """Count parameters per group: a table with columns ``trainable`` and ``frozen`` and a last row ``total``."""
    rows = {title: {"trainable": 0, "frozen": 0} for title in (BIASES, *dict(REPORT_ROWS))}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in model.named_parameters():
        alone = name.endswith(".bias") and name in trained and name.removesuffix("bias") + "weight" not in trained
        title = BIASES if alone else next(title for title, pattern in REPORT_ROWS if re.search(pattern, name))
        rows[title]["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    report = pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")
    report = report[report.sum(axis=1) > 0]
    report.loc["total"] = report.sum()
    return report
