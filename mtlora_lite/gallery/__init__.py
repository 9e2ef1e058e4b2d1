"""The kit's figures for slides, each as PNG and as SVG, drawn from what is committed and from nothing else.

``python -m mtlora_lite.gallery FOLDER`` writes them, and a page that shows them all.

=============  ================================================================
``slides``     what they have in common: size, type, colours, how they are written
``fork``       the fork diagram, from the structure of a model
``pictures``   images, labels and predictions
``charts``     spectra, parameters, costs, gains
``catalogue``  which slides there are
=============  ================================================================
"""

from mtlora_lite.gallery.catalogue import slides
from mtlora_lite.gallery.slides import Slide, write_gallery

__all__ = ["Slide", "slides", "write_gallery"]
