"""Plausible wrong answers to the exercises of notebook 02, each with a part of what the check says to it."""

import torch
import torch.nn.functional as F


def row_by_row(x):
    B, H, W, C = x.shape
    return x.view(B, H, W, 2, 2, C // 4).permute(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, C // 4)


def channels_last_in_line(x):
    return F.pixel_shuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def height_and_width_exchanged(x):
    B, H, W, C = x.shape
    return x.view(B, H, W, 2, 2, C // 4).permute(0, 2, 3, 1, 4, 5).reshape(B, 2 * W, 2 * H, C // 4)


def three_of_four(x):
    quarters = x.chunk(4, dim=-1)
    rows = [torch.stack(pair, dim=3).flatten(2, 3) for pair in ((quarters[0], quarters[2]), (quarters[1], quarters[1]))]
    return torch.stack(rows, dim=2).flatten(1, 2)


def heard(token, shifts, window):
    first = last = token
    for shift in shifts:
        first = (first - shift) // window * window + shift
        last = (last - shift) // window * window + shift + window - 1
    return first, last


def clipped(first, last, length):
    return max(first, 0), min(last, length - 1)


def shifts(blocks, window):
    return [window // 2 if block % 2 else 0 for block in range(blocks)]


def beyond_the_border(token, blocks, window, length):
    return heard(token, shifts(blocks, window)[::-1], window)


def first_block_first(token, blocks, window, length):
    return clipped(*heard(token, shifts(blocks, window), window), length)


def never_shifted(token, blocks, window, length):
    return clipped(*heard(token, [0] * blocks, window), length)


def one_too_far(token, blocks, window, length):
    first, last = clipped(*heard(token, shifts(blocks, window)[::-1], window), length)
    return first, last + 1


def a_window_per_block(token, blocks, window, length):
    return clipped(token - blocks * window // 2, token + blocks * window // 2, length)


WRONG = {
    "02.1": [
        (lambda level, side, channels: (channels * 2**level, side // 4 // 2**level), "no patch merging follows"),
        (lambda level, side, channels: (channels * 2 ** (level - 1), side // 2 ** (level + 1)), "before the patch"),
        (lambda level, side, channels: (side // 4 // 2 ** min(level, 3), channels * 2 ** min(level, 3)), "come first"),
        (lambda level, side, channels: (channels * 4 ** min(level, 3), side // 4 // 2 ** min(level, 3)), "doubles the"),
        (lambda level, side, channels: channels * 2**level, "it stopped with TypeError"),
    ],
    "02.2": [
        (row_by_row, "the neighbour below, (1, 0), not the one to the right"),
        (channels_last_in_line, "at (row, column) = (0, 0)"),
        (height_and_width_exchanged, "becomes (2, 6, 4, 5), not (2, 4, 6, 5)"),
        (three_of_four, "at (row, column) = (1, 1)"),
    ],
    "02.3": [
        (never_shifted, "the windows of block 2 are shifted by 2"),
        (first_block_first, "expected 12 to 19, got 10 to 17"),
        (beyond_the_border, "there are only the tokens 0 to 31"),
        (one_too_far, "return the last token itself"),
        (a_window_per_block, "expected 4 to 7"),
    ],
}
