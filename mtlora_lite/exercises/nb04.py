"""Exercises of notebook 04: shared and private, TA- and TS-LoRA."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlora_lite.exercises.verdicts import Answer, Check
from mtlora_lite.lora import MTLoRALinear

Layer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # x (N, in), x_tasks (T, N, in) to (N, out), (T, N, out)


def check_adapter_numbers(adapter_numbers: Answer) -> str | None:
    """04.1: the numbers of TA-LoRA and of TS-LoRA in a Swin."""
    swin_t, tiny = ((96, 192, 384, 768), (2, 2, 6, 2)), ((32, 64, 128, 256), (2, 2, 4, 2))
    cases = [
        (*swin_t, 16, 4, 4, 1_130_496, 276_480),
        (*swin_t, 64, 4, 4, 4_521_984, 276_480),
        (*tiny, 8, 4, 6, 155_648, 138_240),
        ((10,), (3,), 1, 2, 0, 480, 0),
        ((10, 20), (1, 1), 3, 2, 5, 1440, 3600),
    ]
    for widths, depths, rank, task_rank, num_tasks, shared, private in cases:
        given = adapter_numbers(widths, depths, rank, task_rank, num_tasks)
        case = f"widths {widths}, depths {depths}, rank {rank}, {num_tasks} tasks of rank {task_rank}"
        if given[0] != shared:
            return f"{case}: qkv, proj, fc1 and fc2 of every block give {shared} shared numbers, not {given[0]}"
        if given[1] != private:
            return f"{case}: proj, fc1 and fc2 of one block a stage give {private} private numbers, not {given[1]}"
    return None


def check_combined(combined: Answer) -> str | None:
    """04.2: the outputs of a layer in three combine modes, from W x + b, the shared update and the private ones."""
    generator = torch.Generator().manual_seed(0)
    for num_tasks in (1, 3):
        base, update = torch.randn(2, 4, 5, generator=generator)
        private = torch.randn(num_tasks, 4, 5, generator=generator)
        for mode in ("matrix", "matrixv2", "addition"):
            tasks = base + private + (update if mode == "matrixv2" else 0)
            shared = base + (F.layer_norm(tasks.sum(0), (5,)) if mode == "addition" else update)
            given_shared, given_tasks = combined(mode, base, update, private)
            given_tasks = given_tasks if isinstance(given_tasks, Tensor) else torch.stack(list(given_tasks))
            for name, ours, theirs in (("shared", shared, given_shared), ("tasks'", tasks, given_tasks)):
                if theirs.shape != ours.shape:
                    return f"{mode}: the {name} output has the shape {tuple(ours.shape)}, not {tuple(theirs.shape)}"
                if not torch.allclose(theirs, ours, atol=1e-4):
                    return f"{mode}, T = {num_tasks}: the {name} output is not what the equation gives"
    return None


def check_isolated(isolated: Answer) -> str | None:
    """04.3: a test that says of any layer whether the tasks' own streams reach nothing but their own outputs."""
    with torch.random.fork_rng(devices=[]):  # the notebook goes on drawing where it was
        torch.manual_seed(0)
        for what, layer, expected in _layers():
            given = isolated(layer, torch.randn(3, 4), torch.randn(3, 3, 4))
            if bool(given) is not expected:
                return f"{what} is {'' if expected else 'not '}isolated, and your test says {bool(given)}"
    return None


def _layers() -> list[tuple[str, Layer, bool]]:
    """Layers of three tasks: what they are, the layer, and whether it is isolated."""

    def built(combine: str) -> Layer:
        layer = MTLoRALinear(nn.Linear(4, 5), 2, {"semseg": 2, "sal": 1, "depth": 3}, 1.5, combine=combine)
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
        return layer

    sound, leak = built("matrix"), 0.05 * torch.ones(5)

    def last_reaches_first(x: Tensor, x_tasks: Tensor) -> tuple[Tensor, Tensor]:
        shared, tasks = sound(x, x_tasks)
        return shared, torch.stack([tasks[0] + leak * tasks[2], *tasks[1:]])

    def first_reaches_last(x: Tensor, x_tasks: Tensor) -> tuple[Tensor, Tensor]:
        shared, tasks = sound(x, x_tasks)
        return shared, torch.stack([*tasks[:2], tasks[2] + leak * tasks[0]])

    def second_reaches_shared(x: Tensor, x_tasks: Tensor) -> tuple[Tensor, Tensor]:
        shared, tasks = sound(x, x_tasks)
        return shared + leak * tasks[1], tasks

    return [
        ("a layer in matrix mode", sound, True),
        ("a layer in matrixv2 mode", built("matrixv2"), True),
        ("a layer in addition mode", built("addition"), False),
        ("a layer in which the last task's stream reaches the first task's output", last_reaches_first, False),
        ("a layer in which the first task's stream reaches the last task's output", first_reaches_last, False),
        ("a layer in which the second task's stream reaches the shared output", second_reaches_shared, False),
    ]


CHECKS: dict[str, Check] = {"04.1": check_adapter_numbers, "04.2": check_combined, "04.3": check_isolated}
