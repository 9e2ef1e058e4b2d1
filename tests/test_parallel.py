"""The same results in the same order, however many processes."""

import os

import pytest

from mtlora_lite.parallel import CHUNK, parallel_map


def square(number):
    if number == 13_013:
        raise ValueError("an unlucky number")
    return number * number, os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_processes(workers):
    numbers = range(5 * CHUNK + 3)
    results, processes = zip(*parallel_map(square, numbers, workers=workers), strict=True)
    assert list(results) == [number * number for number in numbers]
    assert (os.getpid() in processes) == (workers == 1)


def test_few_items_are_not_worth_a_process():
    assert [process for _, process in parallel_map(square, range(CHUNK), workers=2)] == [os.getpid()] * CHUNK
    assert list(parallel_map(square, [])) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_where_the_results_are_read(workers):
    with pytest.raises(ValueError, match="unlucky"):
        list(parallel_map(square, range(13_000, 13_020), workers=workers))
