"""Exercises of notebook 00: one image, many tasks."""

import torch
import torch.nn.functional as F

from mtlora_lite.exercises.verdicts import Answer, Check


def check_numbers_to_store(numbers_to_store: Answer) -> str | None:
    """00.1: how many numbers one model for all tasks stores, and how many one model per task."""
    cases = {(1, 50, 3): (53, 53), (2, 50, 3): (56, 106), (6, 1000, 70): (1420, 6420)}
    for (num_tasks, shared, private), (one_model, one_per_task) in cases.items():
        given = numbers_to_store(num_tasks, shared, private)
        case = f"{num_tasks} tasks, {shared} shared and {private} private numbers"
        if given[0] != one_model:
            return f"{case}: one model stores the shared part once and a private part per task, which is not {given[0]}"
        if given[1] != one_per_task:
            return f"{case}: models that share nothing store both parts each time, which is not {given[1]} in all"
    return None


def check_agreement(agreement: Answer) -> str | None:
    """00.2: of the pixels that human_parts calls a body part, the share that semseg calls a person."""
    parts = torch.tensor([[0, 1, 2, 2], [0, 0, 3, 0]])
    classes = torch.tensor([[15, 15, 15, 8], [15, 0, 15, 15]])
    if abs((given := float(agreement(parts, classes))) - 0.75) > 1e-6:
        return f"4 pixels are body parts and 3 of those are class 15, so 0.75 was expected, not {given:.3f}"
    if float(agreement(parts, torch.full_like(parts, 14))) != 0:
        return "where no pixel is class 15 (person; 14 is a motorbike), nothing agrees: 0 was expected"
    if float(agreement(torch.zeros_like(parts), classes)) != 1:
        return "where there is no body part, nothing disagrees: 1 was expected (and 0 / 0 is not a number)"
    return None


def check_read(read: Answer) -> str | None:
    """00.3: what the logits of one image say, for each kind of target."""
    generator = torch.Generator().manual_seed(0)
    scores, score, vectors = (3 * torch.randn(channels, 2, 4, generator=generator) for channels in (5, 1, 3))
    expected = {
        "classes": (scores, scores.argmax(0), "the highest score wins, so the answer is one id per pixel"),
        "binary": (score, torch.sigmoid(score), "the sigmoid of the score is the probability"),
        "directions": (vectors, F.normalize(vectors, dim=0), "the vector of each pixel is scaled to length 1"),
        "metres": (score, score, "the number is the distance already"),
    }
    for kind, (logits, values, rule) in expected.items():
        given = torch.as_tensor(read(kind, logits.clone()))
        if given.squeeze().shape != values.squeeze().shape:
            return f"{kind}: {rule}; shape {tuple(values.shape)} was expected, not {tuple(given.shape)}"
        if not torch.allclose(given.squeeze().double(), values.squeeze().double(), atol=1e-5):
            return f"{kind}: {rule}; the shape is right, the values are not"
    return None


CHECKS: dict[str, Check] = {
    "00.1": check_numbers_to_store,
    "00.2": check_agreement,
    "00.3": check_read,
}
