"""Plausible wrong answers to the exercises of notebook 04, each with a part of what the check says to it."""

import torch
import torch.nn.functional as F


def without_qkv(widths, depths, rank, task_rank, num_tasks):
    all_blocks = sum(c * d for c, d in zip(widths, depths, strict=True))
    return 12 * rank * all_blocks, 12 * task_rank * num_tasks * sum(widths)


def private_in_every_block(widths, depths, rank, task_rank, num_tasks):
    all_blocks = sum(c * d for c, d in zip(widths, depths, strict=True))
    return 16 * rank * all_blocks, 12 * task_rank * num_tasks * all_blocks


def private_in_qkv_too(widths, depths, rank, task_rank, num_tasks):
    all_blocks = sum(c * d for c, d in zip(widths, depths, strict=True))
    return 16 * rank * all_blocks, 16 * task_rank * num_tasks * sum(widths)


def for_one_task(widths, depths, rank, task_rank, num_tasks):
    all_blocks = sum(c * d for c, d in zip(widths, depths, strict=True))
    return 16 * rank * all_blocks, 12 * task_rank * sum(widths)


def the_same_in_all_modes(mode, base, update, private):
    return base + update, base + private


def shared_update_for_every_task(mode, base, update, private):
    shared = F.layer_norm((base + private).sum(0), base.shape[-1:]) if mode == "addition" else update
    return base + shared, base + update + private


def sum_of_the_updates_only(mode, base, update, private):
    shared = F.layer_norm(private.sum(0), base.shape[-1:]) if mode == "addition" else update
    return base + shared, base + private + (update if mode == "matrixv2" else 0)


def tasks_added_up(mode, base, update, private):
    return base + update, (base + private).sum(0)


def only_the_tasks(layer, x, x_tasks):
    _, tasks = torch.autograd.functional.jacobian(lambda own: layer(x, own), x_tasks)
    return not tasks.abs().sum((1, 2, 4, 5)).fill_diagonal_(0).any()


def only_the_shared_output(layer, x, x_tasks):
    shared, _ = torch.autograd.functional.jacobian(lambda own: layer(x, own), x_tasks)
    return not shared.any()


def only_later_tasks(layer, x, x_tasks):
    shared, tasks = torch.autograd.functional.jacobian(lambda own: layer(x, own), x_tasks)
    return not shared.any() and not tasks.abs().sum((1, 2, 4, 5)).tril(-1).any()


def own_output_counted_too(layer, x, x_tasks):
    shared, tasks = torch.autograd.functional.jacobian(lambda own: layer(x, own), x_tasks)
    return not shared.any() and not tasks.any()


WRONG = {
    "04.1": [
        (without_qkv, "give 1130496 shared numbers, not 847872"),
        (private_in_every_block, "one block a stage give 276480 private numbers"),
        (private_in_qkv_too, "one block a stage give 276480 private numbers"),
        (for_one_task, "private numbers, not 69120"),
    ],
    "04.2": [
        (the_same_in_all_modes, "matrixv2, T = 1: the tasks' output is not what the equation gives"),
        (shared_update_for_every_task, "matrix, T = 1: the tasks' output is not what the equation gives"),
        (sum_of_the_updates_only, "addition, T = 1: the shared output is not what the equation gives"),
        (tasks_added_up, "the tasks' output has the shape (1, 4, 5), not (4, 5)"),
    ],
    "04.3": [
        (lambda layer, x, x_tasks: True, "a layer in addition mode is not isolated, and your test says True"),
        (only_the_tasks, "a layer in addition mode is not isolated, and your test says True"),
        (only_the_shared_output, "last task's stream reaches the first task's output is not isolated"),
        (only_later_tasks, "last task's stream reaches the first task's output is not isolated"),
        (own_output_counted_too, "a layer in matrix mode is isolated, and your test says False"),
    ],
}
