"""A row of a comparison: a method, and what it is given beside what all rows have in common.

How it is written::

    METHOD@NAME=VALUE@NAME=VALUE, for example mtlora@rank=16, mtlora@pretrained=false, lora@decoder=aspp

A name is an option of the method, or one of ``OWN``: what a run may have of its own and still be comparable, for all
rows are to see the same images, in the same order, for as many steps.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mtlora_lite.config import read_option
from mtlora_lite.methods import METHODS, get_method, method_options
from mtlora_lite.names import did_you_mean

OWN = ("backbone", "decoder", "decoder_options", "pretrained", "drop_path", "loss_weights", "weighting", "balance")


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: as it was written.
        method: a row of the method registry.
        options: of the method.
        own: options of the run that differ from those of the other rows.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(hash=False)
    own: Mapping[str, Any] = field(hash=False)

    @property
    def tuned_as(self) -> tuple[str, str]:
        """Rows that share this share a learning rate: it is chosen for a method, not for each of its ranks."""
        return self.method, repr(sorted(self.own.items()))

    def parts(self, tasks: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The groups of tasks that the row trains together: all of them, or for ``single_task`` each alone."""
        return [(task,) for task in tasks] if self.method == "single_task" else [tasks]


def read_rows(names: Iterable[str], shared: Mapping[str, Any]) -> list[Row]:
    """The rows of a comparison.

    Args:
        names: as they are written.
        shared: options that every method gets that has them; what a row says itself comes first.

    Raises:
        ValueError: an unknown method or option, a row given twice, or a shared option that no row's method has.
    """
    rows = [_read_row(name, shared) for name in dict.fromkeys(names)]
    known = {option.name for row in rows for option in dataclasses.fields(METHODS[row.method].options)}
    for option in shared:
        if option not in known:
            raise ValueError(f"No method of this comparison has an option {option!r}.{did_you_mean(option, known)}")
    return rows


def _read_row(name: str, shared: Mapping[str, Any]) -> Row:
    method, *words = name.split("@")
    known = [option.name for option in dataclasses.fields(get_method(method).options)]
    given = dict(read_option(word) for word in words)
    own = {key: given.pop(key) for key in list(given) if key in OWN}
    for key in given:
        if key not in known:
            raise ValueError(
                f"{name!r}: {method} has no option {key!r}.{did_you_mean(key, (*known, *OWN))} A row may set "
                f"{', '.join((*known, *OWN))}."
            )
    options = {key: value for key, value in shared.items() if key in known} | given
    method_options(method, options)  # an impossible value is an error now, not after the rows before it
    return Row(name, method, options, own)
