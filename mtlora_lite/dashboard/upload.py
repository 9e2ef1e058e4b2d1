"""A widget that takes a file from a visitor, and of one that is too large nothing but its name and size.

ipywidgets' own sends whatever it is given, and a server closes the connection of a page that sends too much.
"""

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

from mtlora_lite.dashboard.pictures import MAX_BYTES, too_large, unreadable


class PhotoUpload(anywidget.AnyWidget):
    """A place to click or to drop a file on.

    Args:
        take: called with the content and the name of a file that was sent.
        refuse: called with a sentence on one that was not.
    """

    _esm = Path(__file__).with_name("upload.js")
    limit = traitlets.Int(MAX_BYTES).tag(sync=True)

    def __init__(self, take: Callable[[bytes, str], None], refuse: Callable[[str], None]) -> None:
        super().__init__()
        self._take, self._refuse = take, refuse
        self.on_msg(self._receive)

    def _receive(self, _: object, message: dict, buffers: list) -> None:
        name = str(message.get("name", ""))
        if message.get("unreadable"):
            self._refuse(unreadable(name))
        elif not buffers:
            self._refuse(too_large(name, int(message["size"])))
        else:
            self._take(bytes(buffers[0]), name)
