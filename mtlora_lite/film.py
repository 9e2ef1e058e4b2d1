"""The picture of one frame of a film: the frame, and beside it what is seen in it, task by task.

Figures of ``viz`` have legends that grow and shrink, and take a fifth of a second; here every picture of a film has
one size and one layout, and the colours of depth stay those of the first frame.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mtlora_lite.model import resize_logits
from mtlora_lite.tasks import TASKS, Task
from mtlora_lite.viz import INK, colorize, depth_limits, read_logits

LONGER_SIDE = 320  # pixels of a tile
MARGIN, TITLE, LEGEND = 8, 22, 18  # pixels: around tiles, for the title above and the legend below each
MOST_COLUMNS = 4


class Film:
    """Draws the frames of one film.

    Args:
        tasks: what is shown beside the frame.
        shape: height and width of the frames.
    """

    def __init__(self, tasks: Sequence[str], shape: tuple[int, int]):
        self.tasks = tuple(tasks)
        self.tile = tuple(max(2, round(side * LONGER_SIDE / max(shape))) for side in shape)  # (h, w)
        rows = ceil((1 + len(tasks)) / MOST_COLUMNS)
        self.columns = ceil((1 + len(tasks)) / rows)
        self.cell = (self.tile[0] + TITLE + LEGEND, max(self.tile[1], LONGER_SIDE // 2) + MARGIN)
        height, width = rows * self.cell[0] + MARGIN, self.columns * self.cell[1] + MARGIN
        self.shape = (height + height % 2, width + width % 2)  # video encoders want even numbers
        self.limits: tuple[float, float] | None = None
        self.font, self.small = ImageFont.load_default(14), ImageFont.load_default(11)

    def draw(self, image: np.ndarray, logits: Mapping[str, Tensor]) -> np.ndarray:
        """The picture, uint8 (H', W', 3), of a frame (H, W, 3) and its logits {task: (C, h, w)}."""
        page = Image.new("RGB", self.shape[::-1], "white")
        drawing = ImageDraw.Draw(page)
        size = self.tile[::-1]
        self._place(page, drawing, 0, "image", INK, Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        for index, task in enumerate(self.tasks, start=1):
            row = TASKS[task]
            values = read_logits(task, resize_logits(logits[task][None], self.tile))[0]  # (C, h, w)
            if row.target == "metres" and self.limits is None:
                self.limits = depth_limits(values)
            picture = Image.fromarray(colorize(task, values, self.limits))
            left, below = self._place(page, drawing, index, row.title, row.color, picture)
            self._legend(drawing, left, below, row, values)
        return np.asarray(page)

    def _place(self, page, drawing, index: int, title: str, color: str, picture: Image.Image) -> tuple[int, int]:
        """Put a tile in its place, and return where its legend begins."""
        left = MARGIN + index % self.columns * self.cell[1]
        top = MARGIN // 2 + index // self.columns * self.cell[0]
        drawing.text((left, top + 2), title, fill=color, font=self.font)
        page.paste(picture, (left, top + TITLE))
        return left, top + TITLE + self.tile[0] + 3

    def _legend(self, drawing, left: int, top: int, row: Task, values: Tensor) -> None:
        """The names of what is seen, the largest first, as many as there is room for; or the range of depth."""
        if row.target == "metres":
            low, high = self.limits
            drawing.text((left, top), f"{low:.1f} m (bright) to {high:.1f} m", fill=INK, font=self.small)
        if row.target != "classes":
            return
        right = left + self.cell[1] - MARGIN
        ids, counts = values.unique(return_counts=True)
        for index in ids[counts.argsort(descending=True)].int().tolist():
            if index == 0 or index >= len(row.classes):  # background goes without saying
                continue
            width = 14 + int(drawing.textlength(row.classes[index], self.small))
            if left + width > right:
                break
            drawing.rectangle((left, top + 2, left + 9, top + 11), fill=row.palette[index])
            drawing.text((left + 12, top), row.classes[index], fill=INK, font=self.small)
            left += width + 8
