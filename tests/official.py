"""Test-side map from the parameter names of the paper's released code to the oracle's, written without the package."""

import re


def our_name(official: str) -> str | None:
    """The oracle's name of a parameter or buffer of the released code; None for buffers that are computed."""
    if re.search(r"attn_mask$|relative_position_index$", official):
        return None
    name = official
    # the released code keeps patch merging at the end of a stage, timm at the start of the next one
    name = re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
    name = name.replace("lora_shared_", "lora_ta_").replace("lora_tasks_", "lora_ts_")
    name = re.sub(r"^downsampler\.(\w+)\.downsample_(\d)\.", r"decoders.\1.fusion.convs.\2.", name)
    name = re.sub(r"^decoders\.decoders\.(\w+)\.last_layer\.", r"decoders.\1.head.", name)
    return name
