"""Plausible wrong answers to the exercises of notebook 00, each with a part of what the check says to it."""

import torch


def all_numbers(num_tasks, shared, private):
    return num_tasks * (shared + private), num_tasks * (shared + private)


def one_private_part(num_tasks, shared, private):
    return shared + private, num_tasks * (shared + private)


def shared_once_everywhere(num_tasks, shared, private):
    return shared + num_tasks * private, shared + num_tasks * private


def of_all_pixels(parts, classes):
    return ((parts != 0) & (classes == 15)).float().mean()


def of_the_persons(parts, classes):
    return (parts[classes == 15] != 0).float().mean()


def not_a_number_without_parts(parts, classes):
    return (classes[parts != 0] == 15).float().mean()


def reading(**other):
    """The right answer but for one kind."""
    right = {
        "classes": lambda x: x.argmax(0),
        "binary": torch.sigmoid,
        "directions": lambda x: x / x.norm(dim=0),
        "metres": lambda x: x,
    }
    return lambda kind, logits: {**right, **other}[kind](logits)


WRONG = {
    "00.1": [
        (all_numbers, "stores the shared part once"),
        (one_private_part, "a private part per task"),
        (shared_once_everywhere, "store both parts each time"),
        (lambda num_tasks, shared, private: shared, "it stopped with TypeError"),
    ],
    "00.2": [
        (of_all_pixels, "0.75 was expected, not 0.375"),
        (of_the_persons, "0.75 was expected, not 0.500"),
        (not_a_number_without_parts, "0 / 0 is not a number"),
        (lambda parts, classes: (classes[parts != 0] >= 14).float().mean() if parts.any() else 1.0, "motorbike"),
    ],
    "00.3": [
        (reading(classes=lambda x: x.softmax(0)), "classes: the highest score wins"),
        (reading(classes=lambda x: x.argmax(-1)), "shape (2, 4) was expected, not (5, 2)"),
        (reading(classes=lambda x: x.argmin(0)), "classes: the highest score wins, so"),
        (reading(binary=lambda x: x.softmax(0)), "binary: the sigmoid of the score"),
        (reading(binary=lambda x: x > 0), "binary: the sigmoid of the score"),
        (reading(directions=lambda x: x), "directions: the vector of each pixel is scaled"),
        (reading(directions=lambda x: x / x.norm()), "the shape is right, the values are not"),
        (reading(directions=lambda x: x / x.norm(dim=-1, keepdim=True)), "the shape is right, the values are not"),
        (reading(metres=torch.relu), "metres: the number is the distance already"),
    ],
}
