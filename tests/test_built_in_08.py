"""The spectrum that notebook 08 takes from thin factors is the package's, and the dense matrix's."""

import pytest
import torch
from test_notebooks import building_cell

from mtlora_lite.analysis import Update, thin_svd


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_its_singular_values_are_those_of_the_package_and_of_the_dense_update(rank):
    scope = {"torch": torch}
    cell = building_cell("08", "builds-spectrum")
    exec(cell.split("\n\n\n")[0], scope)  # the function, without the model that it is then used on
    torch.manual_seed(rank)
    up, down = torch.randn(40, rank).double(), torch.randn(rank, 24).double()
    values = scope["singular_values"](up, down)
    torch.testing.assert_close(values, thin_svd(Update("layer", "shared", down, up))[1])
    torch.testing.assert_close(values, torch.linalg.svdvals(up @ down)[:rank])
