"""Test-side map from the parameter names of the paper's released code to ours."""

import re


def our_name(official: str) -> str | None:
    """Our name of a parameter or buffer of the released code; None for buffers that we compute."""
    if re.search(r"attn_mask$|relative_position_index$", official):
        return None
    name = official
    # the released code keeps patch merging at the end of a stage, timm at the start of the next one
    name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
    name = name.replace("lora_shared_", "lora_ta_").replace("lora_tasks_", "lora_ts_")
    name = re.sub(r"^downsampler\.(\w+)\.downsample_(\d)\.", r"decoders.\1.fusion.convs.\2.", name)
    name = re.sub(r"^decoders\.decoders\.(\w+)\.last_layer\.", r"decoders.\1.head.", name)
    return name


def move_forked_proj(name: str, last_blocks: set[str]) -> str:
    """In the last block of a stage ``attn.proj`` is called ``proj``."""
    match = re.match(r"(backbone\.layers\.\d\.blocks\.\d\.)attn\.(proj\..*)", name)
    return match[1] + match[2] if match and match[1] in last_blocks else name


def map_names(official_names, depths) -> dict[str, str]:
    """{official name: our name} for everything that we keep."""
    last_blocks = {f"backbone.layers.{stage}.blocks.{depth - 1}." for stage, depth in enumerate(depths)}
    mapped = {name: our_name(name) for name in official_names}
    return {name: move_forked_proj(ours, last_blocks) for name, ours in mapped.items() if ours}
