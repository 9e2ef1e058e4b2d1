"""What the tests of methods share: every row of the registry with odd options, and models that were trained away."""

import torch
from torch import nn

import mtlora_lite as ml

SHAPE = {"embed_dim": 8, "depths": [2, 1, 2, 1], "num_heads": [1, 2, 2, 4], "window_size": [4, 4, 2, 2]}
SIZE = (64, 96)
TASKS = ("semseg", "normals", "depth")
HEADS = {"channels": [4, 4, 4, 4], "expansion": 1}
_RANK, _OF_TASKS = (3, 2, 4, 1), {"semseg": 1, "normals": 3, "depth": (2, 1, 1, 2)}
_OF_TARGETS = {"qkv": _RANK, "proj": 1, "fc1": 2, "fc2": 5}
_SCALES, _FACTORS = (2.5, 0.5, 3.0, 1.5), {"semseg": 0.5, "normals": (3.0, 2.0, 0.7, 1.3), "depth": 1.5}
_LAYERS = {"qkv": 2.5, "proj": _SCALES, "fc1": 0.5, "fc2": 3.0}

# {method, and what is special about it: options}
ZOO = {
    "mtlora": {"rank": _RANK, "task_rank": _OF_TASKS, "scale": 2.5, "task_scale": _FACTORS},
    "mtlora addition": {"rank": _RANK, "task_rank": _OF_TASKS, "scale": 2.5, "combine": "addition"},
    "mtlora lora_only": {"rank": _RANK, "scale": _SCALES, "combine": "lora_only"},
    "mtlora_plus": {"rank": _RANK, "task_rank": _OF_TASKS, "scale": 2.5, "combine": "matrixv2"},
    "mtl_lora": {"rank": _RANK, "num_up": 3, "scale": _SCALES, "temperature": 0.5},
    "mtl_lora diagonal": {"rank": 3, "lambda_form": "diagonal", "targets": ("proj", "reduction"), "train": ("norms",)},
    "lora_per_task": {"rank": _OF_TASKS, "scale": _FACTORS},
    "lora": {"rank": _OF_TARGETS, "scale": _LAYERS},
    "lora merging": {"rank": 2, "scale": 0.5, "targets": ("reduction", "qkv"), "train": ("rel_pos", "patch_embed")},
    "dora": {"rank": _OF_TARGETS, "scale": _LAYERS},
    "adapter": {"ratio": (4, 3, 2, 5)},
    "adapter mlp": {"after": ("mlp",), "train": ()},
    "vpt": {"prompts": 3},
    "vpt deep": {"prompts": 3, "deep": True, "train": ("norms",)},
    "ssf": {},
    "bitfit": {},
    "bitfit positions": {"train": ("rel_pos",)},
    "decoders_only": {},
    "full": {},
    "single_task": {},
}


def method_of(kind):
    return kind.split()[0]


def tasks_of(kind):
    return TASKS[:1] if kind == "single_task" else TASKS


def options_of(kind, tasks):
    """The options of a kind for these tasks, without dropout."""
    options = {
        key: {task: value[task] for task in tasks} if isinstance(value, dict) and set(value) == set(TASKS) else value
        for key, value in ZOO[kind].items()
    }
    drops = method_of(kind) in ("mtlora", "mtlora_plus", "mtl_lora", "lora_per_task", "lora", "dora", "vpt")
    return options | ({"dropout": 0.0} if drops else {})


def fresh(kind, tasks=None, **arguments):
    """A model as it is built, with the frozen weights that every other has."""
    tasks = tasks or tasks_of(kind)
    torch.manual_seed(1)
    arguments = {
        "backbone": SHAPE, "img_size": SIZE, "pretrained": False, "drop_path": 0.0, "decoder_options": HEADS,
    } | arguments  # fmt: skip
    return ml.build_model(method_of(kind), tasks=tasks, **arguments, **options_of(kind, tasks)).eval()


def trained(kind, tasks=None, **arguments):
    """A model of which everything that learns has been moved away from where it starts, and every statistic."""
    model = fresh(kind, tasks, **arguments)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def plain_copy(model):
    """A model of the same frozen backbone and decoders with nothing inserted."""
    plain = fresh("decoders_only", model.tasks)
    found = model.state_dict()
    for name, layer in model.named_modules():
        if hasattr(layer, "base_name"):
            found |= {f"{name}.{leaf}": value for leaf, value in layer.plain.state_dict().items()}
    found |= {name.replace(".proj.", ".attn.proj."): value for name, value in found.items() if "blocks" in name}
    plain.load_state_dict({name: found[name] for name in plain.state_dict()})
    return plain
