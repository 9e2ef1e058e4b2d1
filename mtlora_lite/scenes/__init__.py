"""The embedded data set: seeded, labelled pictures of a small world, from NumPy alone."""

from .batch import contact_sheet, render_many
from .labels import render_crop, render_scene

__all__ = ["contact_sheet", "render_crop", "render_many", "render_scene"]
