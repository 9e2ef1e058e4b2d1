"""MTLoRA by timm's own, plain forward passes: another way to the same numbers than the package's, for any family.

A plain model of timm is given layers that put ΔW in by hand. Its blocks then run once for the shared stream and once
more for every task, from the same input, and no line of the package takes part. In a pass of task t a forked layer adds
what its frozen weight made of the shared stream, which it remembers, to the task's update of its own input:

    shared  y   = W x + b + s · B A x            task  y_t = W x + b + s_t · B_t A_t x_t

With ``addition`` the shared stream waits at every forked layer for the tasks'. Instead of waiting, all passes are
repeated: each round has one more layer right, there are three, and then the shared stream passes once more.
"""

import re
from dataclasses import dataclass, field

import torch
from torch import nn

ROUNDS = 4


@dataclass
class Setting:
    """What the layers of a model share: how updates combine, and whose pass it is (None: the shared stream's)."""

    tasks: tuple[str, ...]
    scale: tuple[float, ...]  # per stage
    task_scale: dict[str, tuple[float, ...]]  # per task and stage
    combine: str
    now: str | None = None
    memory: dict = field(default_factory=dict)


class ByHand(nn.Module):
    """A linear layer with ΔW; its parameters are called as in the package but for the frozen ones."""

    def __init__(self, state, prefix, setting, stage):
        super().__init__()
        self.setting, self.stage = setting, stage
        for name, value in state.items():
            if name.startswith(f"{prefix}."):
                name = name.removeprefix(f"{prefix}.").replace("linear.weight", "frozen").replace("linear.", "")
                self.register_parameter(name.replace(".", "_"), nn.Parameter(value.clone()))
        if not hasattr(self, "bias"):
            self.bias = None

    @property
    def weight(self):
        """W + ΔW: what timm's second Swin multiplies by."""
        if not hasattr(self, "lora_ta_A"):
            return self.frozen
        return self.frozen + self.setting.scale[self.stage] * self.lora_ta_B @ self.lora_ta_A

    @property
    def forks(self):
        return any("lora_ts_" in name for name, _ in self.named_parameters())

    def forward(self, x):
        if not self.forks:
            return nn.functional.linear(x, self.weight, self.bias)
        setting, mine = self.setting, self.setting.memory.setdefault(id(self), {})
        if setting.now is not None:
            down, up = (getattr(self, f"lora_ts_{side}_{setting.now}") for side in "AB")
            anchor = mine["shared" if setting.combine == "matrixv2" else "frozen"]
            mine[setting.now] = anchor + setting.task_scale[setting.now][self.stage] * x @ (up @ down).T
            return mine[setting.now]
        mine["frozen"] = nn.functional.linear(x, self.frozen, self.bias)
        if setting.combine == "addition":
            sums = sum(mine.get(task, torch.zeros(())) for task in setting.tasks) + torch.zeros_like(mine["frozen"])
            norm = {"weight": self.lora_norm_weight, "bias": self.lora_norm_bias}
            return mine["frozen"] + nn.functional.layer_norm(sums, sums.shape[-1:], **norm)
        mine["shared"] = nn.functional.linear(x, self.weight, self.bias)
        return mine["shared"]


def by_hand(model, state, setting):
    """Put a backbone's state into a plain timm model: its own parameters, and layers that add ΔW."""
    state = {re.sub(r"(blocks\.\d+)\.proj\.", r"\1.attn.proj.", name): value for name, value in state.items()}
    for prefix in sorted({name.partition(".linear.")[0] for name in state if ".linear." in name}):
        parent, _, name = prefix.rpartition(".")
        stage = int(re.search(r"\.(\d+)\.", prefix)[1]) - ("downsample" in prefix)
        setattr(model.get_submodule(parent), name, ByHand(state, prefix, setting, stage))
    plain = {name: value for name, value in state.items() if ".linear." not in name and ".lora_" not in name}
    missing, unexpected = model.load_state_dict(plain, strict=False)
    assert not unexpected
    adapted = tuple(name for name, module in model.named_modules() if isinstance(module, ByHand))
    assert all(name.startswith((*adapted, "norm.")) for name in missing)  # a last norm is not used
    return model


def our_name(name):
    """What a parameter of a plain model by hand is called in the package, but for where ``proj`` lies."""
    name = re.sub(r"(lora_ts_[AB])_", r"\1.", name).replace("lora_norm_", "lora_norm.")
    return name.replace(".frozen", ".linear.weight")


def pyramids(model, images, setting):
    """{task: the four maps} of a plain model by hand: features after what timm puts between the stages."""
    stages = model.layers if hasattr(model, "layers") else model.stages
    x, maps = model.patch_embed(images), {task: [] for task in setting.tasks}  # (B, H, W, C)
    for index, stage in enumerate(stages):
        for block in stage.blocks[:-1]:
            x = _call(block, x)
        outputs = {}
        for _ in range(ROUNDS):
            for stream in (None, *setting.tasks):
                setting.now = stream
                outputs[stream] = _call(stage.blocks[-1], x)
        leave = _after(stages, index)
        x = leave(outputs[None])
        for task in setting.tasks:
            maps[task].append(leave(outputs[task]).permute(0, 3, 1, 2))
    return maps


def _call(block, x):
    if hasattr(block, "window_size"):
        return block(x)
    _, height, width, _ = x.shape
    return block(x.flatten(1, 2), (height, width)).unflatten(1, (height, width))


def _after(stages, index):
    """The norm of a stage, where it has one, and the way into the next."""

    def leave(x):
        if hasattr(stages[index], "norm"):  # the pyramid transformer, whose next stage takes (B, C, H, W)
            x = stages[index].norm(x)
            return x if index + 1 == len(stages) else stages[index + 1].downsample(x.permute(0, 3, 1, 2))
        return x if index + 1 == len(stages) else stages[index + 1].downsample(x)

    return leave
