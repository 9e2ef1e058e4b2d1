"""Plausible wrong answers to the exercises of notebook 05, each with a part of what the check says to it."""


def the_share_that_remains(in_channels, channels, sides):
    late = sum(i * o for i, o in zip(in_channels, channels, strict=True)) * sides[0] ** 2
    return sum(i * o * side**2 for i, o, side in zip(in_channels, channels, sides, strict=True)) / late


def cells_only(in_channels, channels, sides):
    return len(sides) * sides[0] ** 2 / sum(side**2 for side in sides)


def sides_for_cells(in_channels, channels, sides):
    cost = [i * o for i, o in zip(in_channels, channels, strict=True)]
    return sum(cost) * sides[0] / sum(c * side for c, side in zip(cost, sides, strict=True))


def difference(in_channels, channels, sides):
    cost = [i * o for i, o in zip(in_channels, channels, strict=True)]
    return sum(c * (sides[0] ** 2 - side**2) for c, side in zip(cost, sides, strict=True))


def without_dilation(layers):
    side, step = 1, 1
    for kernel, stride, _ in layers:
        side, step = side + (kernel - 1) * step, step * stride
    return side


def without_stride(layers):
    return 1 + sum((kernel - 1) * dilation for kernel, _, dilation in layers)


def product_of_kernels(layers):
    side = 1
    for kernel, _, dilation in layers:
        side *= (kernel - 1) * dilation + 1
    return side


def dilated_kernel_too_wide(layers):
    side, step = 1, 1
    for kernel, stride, dilation in layers:
        side, step = side + (kernel * dilation - 1) * step, step * stride
    return side


def stride_before_its_layer(layers):
    side, step = 1, 1
    for kernel, stride, dilation in layers:
        step *= stride
        side += (kernel - 1) * dilation * step
    return side


def equal_parts(projections, weight):
    size = weight.shape[1] // len(projections)
    return [weight[:, k * size : k * size + len(p)] @ p for k, p in enumerate(projections)]


def always_the_first_columns(projections, weight):
    return [weight[:, : len(p)] @ p for p in projections]


def in_the_wrong_order(projections, weight):
    parts = weight.split([len(p) for p in projections], 1)
    return [p.T @ part.T for p, part in zip(projections, parts, strict=True)]


def from_the_back(projections, weight):
    parts = weight.flip(1).split([len(p) for p in projections], 1)
    return [part @ p for part, p in zip(parts, projections, strict=True)]


WRONG = {
    "05.1": [
        (the_share_that_remains, "its inverse, 10.60"),
        (cells_only, "574,414,848 multiplications over"),
        (sides_for_cells, "are 10.60, not"),
        (difference, "are 10.60, not"),
    ],
    "05.2": [
        (without_dilation, "dilation 12, [(3, 1, 12)]: one output depends on 25 inputs a side, not 3"),
        (without_stride, "patches of 4x4, then their 2x2 neighbours merged"),
        (product_of_kernels, "two 3x3 convolutions, [(3, 1, 1), (3, 1, 1)]: one output depends on 5"),
        (dilated_kernel_too_wide, "on 25 inputs a side, not 36"),
        (stride_before_its_layer, "on 8 inputs a side, not"),
    ],
    "05.3": [
        (equal_parts, "map 2 meets the columns 2 to 5"),
        (always_the_first_columns, "map 2 meets the columns 2 to 5"),
        (in_the_wrong_order, "map 1 goes from 7 to 11 channels: (11, 7), not (7, 11)"),
        (from_the_back, "its matrix gives something else"),
        (lambda projections, weight: [weight @ p for p in projections], "it stopped with RuntimeError"),
        (lambda projections, weight: [weight @ projections[0].new_ones(weight.shape[1], 7)], "one matrix per map"),
    ],
}
