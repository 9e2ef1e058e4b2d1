"""The page that ``make app`` serves: a visitor chooses a picture, tasks and a rank, and compares trained models.

``models`` predicts and ``pictures`` reads what is sent; ``drawing`` makes HTML of both, ``page`` the widgets around it.
"""

from typing import TYPE_CHECKING

from mtlora_lite.extras import require

if TYPE_CHECKING:
    from ipywidgets import Widget


def show() -> "Widget":
    """Return the page, for a notebook to display.

    Raises:
        MissingExtraError: anywidget is not installed.
    """
    require("The page", "anywidget")
    from mtlora_lite.dashboard.page import Page

    return Page().widget
