"""How many parameters a model has, group by group."""

import re

import pandas as pd

from mtlora_lite.backbones import Backbone
from mtlora_lite.model import MultiTaskModel

BIASES = "biases"  # where they are trained and the weights beside them are not
# Titles of the backbone's groups of parameters in the report, where they are not the groups' own names.
GROUP_TITLES = {
    "patch_embed": "patch embedding", "rel_pos": "relative positions", "merging": "patch merging",
    "linears": "linear layers",
}  # fmt: skip


def report_rows(family: type[Backbone]) -> dict[str, str]:
    """Rows of the parameter report: what they are called, and a pattern of the names that belong to them."""
    attention = [name for name, path in family.block_linears.items() if path.startswith("attn.")]
    groups = {GROUP_TITLES.get(group, group): pattern for group, pattern in family.parameter_groups.items()}
    updates = {f"TA-LoRA {' + '.join(attention)}": rf"\b({'|'.join(attention)})\.lora_ta_"} if attention else {}
    return {
        **updates,
        "TA-LoRA mlp": r"fc[12]\.lora_ta_",
        "TA-LoRA merging": r"lora_ta_",
        "TS-LoRA": r"lora_ts_|lora_norm",
        "MTL-LoRA A and B": r"\.lora_[AB]$",
        "MTL-LoRA Λ": r"\.lora_lambda$",
        "MTL-LoRA mixing": r"\.lora_mix$",
        "DoRA A and B": r"\.lora_[AB]\.",
        "DoRA lengths": r"\.lora_magnitude_vector\.",
        "bottleneck adapters": r"\.adapter_(down|up)\.",
        "prompts": r"\.prompt_tokens$",
        "scales and shifts": r"\.ssf_",
        BIASES: "^$",  # goes by what is trained
        **{title: rf"^backbone\..*({pattern})" for title, pattern in groups.items()},
        "fusion": r"^decoders\.[^.]+\.fusion\.",
        "decoders": r"^decoders\.",
    }


def parameter_report(model: MultiTaskModel) -> pd.DataFrame:
    """Count parameters per group: a table with columns ``trainable`` and ``frozen`` and a last row ``total``."""
    patterns = report_rows(type(model.backbone))
    rows = {title: {"trainable": 0, "frozen": 0} for title in patterns}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for name, parameter in model.named_parameters():
        alone = name.endswith(".bias") and name in trained and name.removesuffix("bias") + "weight" not in trained
        title = BIASES if alone else next(title for title, pattern in patterns.items() if re.search(pattern, name))
        rows[title]["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
    report = pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")
    report = report[report.sum(axis=1) > 0]
    report.loc["total"] = report.sum()
    return report
