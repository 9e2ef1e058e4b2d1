"""From a scene to a picture and its labels: the two functions that the rest of the package calls.

Everything random about picture number ``index`` of world ``seed`` is drawn from one generator seeded by the two, so a
picture never depends on which others were rendered, in what order, or by whom.
"""

import numpy as np

from mtlora_lite.pascal_mt import NORMALS_VALID_IDS, edges_from_label_map
from mtlora_lite.scenes.compose import Shot, compose
from mtlora_lite.scenes.render import Scene, photograph
from mtlora_lite.tasks import IGNORE_INDEX, VOC_CLASSES

SKY = 360  # a label of PASCAL-Context on which normals do not count
_SCENES, _CROPS = 0, 1  # streams of random numbers


def render_scene(seed: int, index: int, size: int | tuple[int, int] = 128) -> dict[str, np.ndarray]:
    """Render one scene of one to four labelled objects with the targets of all tasks.

    Args:
        seed: which world.
        index: which picture of it; the same two numbers give the same bytes, whatever the number of workers.
            (Another make of processor may round a pixel in a few thousand differently.)
        size: side of the square picture, or (height, width).

    Returns:
        ``image`` uint8 (H, W, 3).
        ``semseg`` uint8 (H, W): VOC ids, 255 on a border of one pixel around objects, see ``_outline``.
        ``human_parts`` uint8 (H, W): 0 to 6, or 255 everywhere if no person is in view.
        ``sal`` uint8 (H, W): 1 on the objects that stand out, see ``saliency``.
        ``normals`` float32 (H, W, 3): unit, x right, y up, z towards the viewer; 255 in the sky.
        ``depth`` float32 (H, W): metres along the optical axis, below 60; 255 in the sky.
        ``label_map`` uint16 (H, W): an id per visible thing, ids of PASCAL-Context on which normals count; sky 360.
        ``edge`` uint8 (H, W): 0 or 1, the thinned borders of ``label_map``.
    """
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng([seed, index, _SCENES])
    main = "person" if rng.random() < 0.15 else VOC_CLASSES[rng.integers(1, len(VOC_CLASSES))]  # persons carry a task
    companions, clutter = int(rng.choice([0, 1, 2, 3], p=[0.2, 0.3, 0.3, 0.2])), int(rng.integers(0, 4))
    scene = compose(rng, main, Shot((0.5, 1.05), 0.35, companions, clutter, occlude=0.12))
    image, buffers = photograph(scene, rng, height, width)
    return {"image": image, **annotate(scene, image, **buffers)}


def render_crop(seed: int, index: int, size: int = 64) -> tuple[np.ndarray, int]:
    """Render one object close up, for pre-training on image-level labels: (size, size, 3) uint8 and its class 1..20.

    Classes take turns with ``index``.
    """
    rng = np.random.default_rng([seed, index, _CROPS])
    class_id = 1 + index % (len(VOC_CLASSES) - 1)
    shot = Shot((0.68, 1.12), 0.16, clutter=int(rng.integers(0, 4)), occlude=0.18, misplace=0.2)
    scene = compose(rng, VOC_CLASSES[class_id], shot)
    return photograph(scene, rng, size, size)[0], class_id


def annotate(
    scene: Scene, image: np.ndarray, depth: np.ndarray, owner: np.ndarray, normals: np.ndarray
) -> dict[str, np.ndarray]:
    """All targets, see ``render_scene``."""
    sky = owner < 0
    class_map = np.where(sky, 0, scene.class_ids[owner]).astype(np.uint8)
    instance = np.where(sky, -1, scene.instances[owner])
    label_map = np.where(sky, SKY, np.array(NORMALS_VALID_IDS)[instance]).astype(np.uint16)
    parts = np.where(sky, 0, scene.parts[owner]).astype(np.uint8)
    facing = (normals @ scene.camera.axes.T).astype(np.float32)
    return {
        "semseg": np.where(_outline(class_map, instance, depth), IGNORE_INDEX, class_map).astype(np.uint8),
        "human_parts": parts if parts.any() else np.full_like(parts, IGNORE_INDEX),
        "sal": saliency(image, class_map, instance),
        "normals": np.where(sky[..., None], np.float32(IGNORE_INDEX), facing),
        "depth": np.where(sky, np.float32(IGNORE_INDEX), depth),
        "label_map": label_map,
        "edge": edges_from_label_map(label_map),
    }


def _outline(class_map: np.ndarray, instance: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """The border (H, W) that belongs to nobody: next to an object the background's pixel, between two the farther one.

    Objects keep their own pixels, so that spokes and tails do not drown in the border.
    """
    border = np.zeros(class_map.shape, bool)
    for axis in (0, 1):
        a, b = (slice(None, -1), slice(1, None)) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        differs = (instance[a] != instance[b]) & ((class_map[a] > 0) | (class_map[b] > 0))
        a_is_behind = np.where((class_map[a] > 0) == (class_map[b] > 0), depth[a] > depth[b], class_map[a] == 0)
        border[a] |= differs & a_is_behind
        border[b] |= differs & ~a_is_behind
    return border


def saliency(image: np.ndarray, class_map: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """Which labelled objects stand out, uint8 (H, W).

    Each object scores sqrt(area share) x centrality x (0.5 + contrast): centrality falls from 1 in the centre to 0 in
    the corners, contrast is the distance of its mean colour to that of the rest of the picture. Every object with at
    least 70 % of the best score is salient.
    """
    height, width = class_map.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    centrality = 1 - np.hypot(x, y) / np.sqrt(2)
    colours = image.astype(np.float32) / 255
    scores = {}
    for thing in np.unique(instance[class_map > 0]):
        mask = instance == thing
        contrast = np.abs(colours[mask].mean(0) - colours[~mask].mean(0)).mean() if not mask.all() else 0.0
        scores[thing] = np.sqrt(mask.mean()) * centrality[mask].mean() * (0.5 + contrast)
    chosen = [thing for thing, score in scores.items() if score >= 0.7 * max(scores.values())]
    return np.isin(instance, chosen).astype(np.uint8)
