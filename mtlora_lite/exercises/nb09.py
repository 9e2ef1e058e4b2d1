"""Exercises of notebook 09: the real thing."""

import math

import torch

from mtlora_lite.exercises.verdicts import Answer, Check


def check_count_work(count_work: Answer) -> str | None:
    """09.1: images that a run is trained on, and images that it scores."""
    cases = (
        ((100, 20, 10, 4, 2), (10 * 100, 5 * 20), "whole batches, and evaluations that come out even"),
        ((10, 3, 3, 4, 3), (3 * 8, 3), "an incomplete batch at the end of an epoch is left out"),
        ((8, 5, 7, 4, 3), (7 * 8, 3 * 5), "after epochs 3 and 6, and at the end"),
        ((8, 5, 6, 4, 3), (6 * 8, 2 * 5), "after epochs 3 and 6, which is the end"),
        ((4998, 5105, 300, 32, 5), (300 * 156 * 32, 60 * 5105), "the paper's run"),
        ((8, 5, 2, 4, 5), (2 * 8, 5), "at the end alone"),
    )
    for arguments, expected, what in cases:
        given = count_work(*arguments)
        if len(given) != 2:
            return f"two numbers were asked for, trained and scored images, not {given}"
        for name, ours, theirs in zip(("trained", "scored"), expected, given, strict=True):
            if theirs != ours:
                names = ("train_images", "val_images", "epochs", "batch_size", "eval_every")
                case = ", ".join(f"{key} {value}" for key, value in zip(names, arguments, strict=True))
                return f"{case} ({what}): {ours:,} images are {name}, not {theirs:,}"
    return None


def check_own_images(own_images: Answer) -> str | None:
    """09.2: what each of several processes takes of a step."""
    generator = torch.Generator().manual_seed(9)
    for batch_size, processes in ((8, 1), (8, 2), (12, 3), (32, 4)):
        order = torch.randperm(3 * batch_size + 5, generator=generator).tolist()
        for step in range(3):
            batch = order[step * batch_size : (step + 1) * batch_size]
            shares = [list(own_images(list(order), step, batch_size, processes, p)) for p in range(processes)]
            seen = [image for share in shares for image in share]
            case = f"step {step} (from 0) of {batch_size} images on {processes} process(es)"
            if len(seen) != batch_size:
                return f"{case}: together they take {len(seen)} images"
            if len({*seen}) < len(seen):
                return f"{case}: an image is taken twice"
            if {*seen} != {*batch}:
                return f"{case}: one process alone would take others, order[{step * batch_size}:...] and so on"
            if len({len(share) for share in shares}) > 1:
                return (
                    f"{case}: the shares are unlike, {[len(share) for share in shares]}, and all wait for the largest"
                )
    return None


def check_miou(miou: Answer) -> str | None:
    """09.3: mIoU from a confusion matrix by either protocol."""
    absent = [[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    invented = [[6, 1, 0, 1], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    missed = [[5, 0, 0], [3, 0, 0], [0, 0, 4]]
    whole = [[5, 1], [2, 4]]
    iou = {"absent": (6 / 9, 3 / 6), "invented": (6 / 9, 3 / 5), "whole": (5 / 8, 4 / 7)}
    cases = (
        (whole, "standard", sum(iou["whole"]) / 2, "all classes are there"),
        (whole, "paper", sum(iou["whole"]) / 2, "all classes are there, and the protocols agree"),
        (absent, "standard", sum(iou["absent"]) / 2, "two classes are neither labelled nor predicted"),
        (absent, "paper", sum(iou["absent"]) / 4, "two classes are neither labelled nor predicted"),
        (invented, "standard", sum(iou["invented"]) / 3, "one class is predicted and nowhere labelled"),
        (invented, "paper", sum(iou["invented"]) / 4, "one class is predicted and nowhere labelled"),
        (missed, "standard", (5 / 8 + 0 + 1) / 3, "one class is labelled and nowhere predicted"),
    )
    for confusion, protocol, expected, what in cases:
        given = float(miou(torch.tensor(confusion), protocol))
        if math.isclose(given, 100 * expected, rel_tol=1e-3):
            return "a number between 0 and 1 was asked for, not a percentage"
        if not math.isclose(given, expected, rel_tol=1e-3):
            return f"{confusion}, {protocol} ({what}): {expected:.3f} was expected, not {given:.3f}"
    return None


CHECKS: dict[str, Check] = {"09.1": check_count_work, "09.2": check_own_images, "09.3": check_miou}
