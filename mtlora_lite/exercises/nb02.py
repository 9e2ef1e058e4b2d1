"""Exercises of notebook 02: Swin in slow motion."""

import torch

from mtlora_lite.exercises.verdicts import Answer, Check

NEIGHBOURS = ((0, 0), (1, 0), (0, 1), (1, 1))  # (row, column), in the order of patch merging


def check_task_map(task_map: Answer) -> str | None:
    """02.1: channels and side of the maps of a task's pyramid."""
    for image_side, channels in ((128, 32), (448, 96), (96, 10)):
        for level in (1, 2, 3, 4):
            given = tuple(float(number) for number in task_map(level, image_side, channels))
            mergings = min(level, 3)
            expected = (channels * 2**mergings, image_side / 4 / 2**mergings)
            case = f"map {level} of an image of {image_side} pixels, {channels} channels at first"
            if given == expected:
                continue
            if given == expected[::-1]:
                return f"{case}: the channels come first, then the side"
            if given == (channels * 2 ** (level - 1), image_side / 4 / 2 ** (level - 1)):
                return f"{case}: this is the map of the stage itself, before the patch merging that follows it"
            if level == 4:
                return f"{case}: no patch merging follows the last stage, so {_pair(given)} is wrong"
            return f"{case}: each patch merging doubles the channels and halves the side, which is not {_pair(given)}"
    return None


def check_scatter_neighbours(scatter_neighbours: Answer) -> str | None:
    """02.2: the tokens that patch merging has gathered, back in their places."""
    original = torch.randn(2, 6, 4, 5, generator=torch.Generator().manual_seed(0))  # (B, H, W, C)
    gathered = torch.cat([original[:, row::2, column::2] for row, column in NEIGHBOURS], dim=-1)  # (2, 3, 2, 20)
    exchanged = torch.empty_like(original)
    for (row, column), part in zip(NEIGHBOURS, gathered.chunk(4, dim=-1), strict=True):
        exchanged[:, column::2, row::2] = part
    given = torch.as_tensor(scatter_neighbours(gathered.clone()))
    if given.shape != original.shape:
        return f"a map (2, 3, 2, 20) becomes {tuple(original.shape)}, not {tuple(given.shape)}"
    if torch.equal(given, exchanged):
        return "the second quarter of the channels is the neighbour below, (1, 0), not the one to the right, (0, 1)"
    for row, column in NEIGHBOURS:
        if not torch.equal(given[:, row::2, column::2], original[:, row::2, column::2]):
            return f"the tokens at (row, column) = ({row}, {column}) of the 2 × 2 squares are not what they were"
    return None


def check_seen(seen: Answer) -> str | None:
    """02.3: the first and the last token of a row that one of them has heard of after some blocks."""
    cases = ((5, 1, 4, 32), (14, 2, 4, 32), (14, 3, 4, 32), (0, 2, 4, 32), (31, 3, 4, 32), (9, 2, 7, 28))
    for token, blocks, window, length in cases:
        first, last = (float(end) for end in seen(token, blocks, window, length))
        expected = _heard(token, blocks, window, length)
        if (first, last) == expected:
            continue
        case = f"token {token} of {length} (0 is the first), windows of {window}, {blocks} blocks"
        if (first, last) == (expected[0], expected[1] + 1):
            return f"{case}: return the last token itself, {expected[1]}, not the one after it"
        if first < 0 or last >= length:
            return f"{case}: there are only the tokens 0 to {length - 1}, so not {first:g} to {last:g}"
        if blocks > 1 and (first, last) == _heard(token, 1, window, length):
            return f"{case}: this is what block 1 sees; the windows of block 2 are shifted by {window // 2}"
        return f"{case}: expected {expected[0]} to {expected[1]}, got {first:g} to {last:g}"
    return None


def _heard(token: int, blocks: int, window: int, length: int) -> tuple[int, int]:
    """Follow every token that was asked, from the last block back to the first."""
    heard = {token}
    for block in reversed(range(blocks)):
        shift = window // 2 if block % 2 else 0
        windows = {(asking - shift) // window for asking in heard}
        heard = {asked for asked in range(length) if (asked - shift) // window in windows}
    return min(heard), max(heard)


def _pair(numbers: tuple[float, ...]) -> str:
    return f"({', '.join(f'{number:g}' for number in numbers)})"


CHECKS: dict[str, Check] = {"02.1": check_task_map, "02.2": check_scatter_neighbours, "02.3": check_seen}
