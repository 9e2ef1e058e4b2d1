"""The embedded data set: seeded, labelled pictures of a small world, rendered with NumPy alone.

Read it bottom-up: ``geometry`` casts rays at solids, ``materials`` colours them, ``render`` makes a picture of a list
of solids. ``animals`` (on ``anatomy``), ``people``, ``vehicles``, ``cycles``, ``craft``, ``furniture`` and
``household`` build the twenty classes of VOC out of solids, ``clutter`` what has no class, ``stage`` the places.
``compose`` puts a scene together, ``labels`` reads the targets of all tasks off it, ``batch`` renders many.
"""

from mtlora_lite.scenes.batch import contact_sheet, render_many
from mtlora_lite.scenes.labels import render_crop, render_scene

# Of the pictures, their labels and their files. Whoever changes a pixel raises it: the cache is then rendered anew, and
# the sample in data/ has to be written again (``make sample``).
VERSION = 1

__all__ = ["VERSION", "contact_sheet", "render_crop", "render_many", "render_scene"]
