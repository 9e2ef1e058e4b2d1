"""The embedded data set: the same bytes for everybody, and labels that are true to the geometry."""

import numpy as np
import pytest

from mtlora_lite.pascal_mt import NORMALS_VALID_IDS, edges_from_label_map
from mtlora_lite.scenes import contact_sheet, geometry, render_crop, render_many, render_scene
from mtlora_lite.scenes.compose import KINDS, Shot, compose
from mtlora_lite.scenes.labels import SKY
from mtlora_lite.scenes.render import Camera, lit, surface, visible
from mtlora_lite.tasks import VOC_CLASSES

SIZE = (72, 96)
PERSON = VOC_CLASSES.index("person")
DTYPES = {
    "image": np.uint8, "semseg": np.uint8, "human_parts": np.uint8, "sal": np.uint8, "normals": np.float32,
    "depth": np.float32, "label_map": np.uint16, "edge": np.uint8,
}  # fmt: skip


@pytest.fixture(scope="module")
def scenes():
    return [render_scene(1, index, SIZE) for index in range(20)]


# --- geometry: every formula against an independent description of the same body ------------------------------------

A, B = np.array([0.3, -0.4, 0.2]), np.array([-0.5, 0.6, -0.1])
TURN = geometry.rotation(yaw=0.4, pitch=0.3, roll=-0.6)


def _from_axis(p):
    """Height of points (..., 3) along A-B, and distance from that line."""
    axis = (B - A) / np.linalg.norm(B - A)
    y = (p - A) @ axis
    return y, np.linalg.norm(p - A - y[..., None] * axis, axis=-1)


def _in_round_cone(p):  # two hundred balls between the two ends
    share = np.linspace(0, 1, 200)
    return np.any([np.linalg.norm(p - (A + s * (B - A)), axis=-1) <= 0.4 - 0.25 * s for s in share], axis=0)


def _in_frustum(p):
    y, r = _from_axis(p)
    h = np.linalg.norm(B - A)
    return (y >= 0) & (y <= h) & (r <= 0.4 - 0.25 * y / h)


def _in_tube(p):
    y, r = _from_axis(p)
    return (np.abs(y) <= 0.1) & (r <= 0.6) & (r >= 0.35)


def _in_ellipsoid(p):
    return ((((p - A) @ TURN) / [0.5, 0.2, 0.7]) ** 2).sum(-1) <= 1


def _in_box(p):
    return (np.abs((p - A) @ TURN) <= np.array([0.5, 0.2, 0.7]) / 2).all(-1)


BODIES = {  # name: (solid, is a point inside?, a point to aim at)
    "round cone": (geometry.limb(A, B, 0.4, 0.15, None), _in_round_cone, (A + B) / 2),
    "frustum": (geometry.rod(A, B, 0.4, None, 0.15), _in_frustum, (A + B) / 2),
    "tube": (geometry.ring(A, B - A, 0.6, 0.35, 0.2, None), _in_tube, A),
    "ellipsoid": (geometry.ellipsoid(A, (0.5, 0.2, 0.7), None, yaw=0.4, pitch=0.3, roll=-0.6), _in_ellipsoid, A),
    "box": (geometry.box(A, (0.5, 0.2, 0.7), None, yaw=0.4, pitch=0.3, roll=-0.6), _in_box, A),
}


def _rays_at(target, count, seed):
    """One origin (3, 1) and directions (3, N) that scatter around a target."""
    origin = np.array([2.0, 1.5, 2.5])
    directions = target + np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 3)) - origin
    return origin[:, None].astype(np.float32), directions.T.astype(np.float32)


@pytest.mark.parametrize("name", BODIES)
def test_rays_meet_a_solid_where_marching_along_them_first_enters_it(name):
    solid, inside, target = BODIES[name]
    origin, directions = _rays_at(target, 60, seed=0)
    t = solid.hit(origin, directions)
    steps = np.linspace(0.5, 1.5, 1001)
    marched = inside(origin[:, 0] + steps[:, None, None] * directions.T)  # (1001, 60)
    first = np.where(marched.any(0), steps[marched.argmax(0)], np.inf)
    assert 10 < np.isfinite(first).sum() < 60
    assert (np.isfinite(t) != np.isfinite(first)).sum() <= 2  # a ray may graze the solid by less than a step
    both = np.isfinite(t) & np.isfinite(first)
    np.testing.assert_allclose(t[both], first[both], atol=4e-3)


@pytest.mark.parametrize("name", BODIES)
def test_normals_are_unit_and_point_from_inside_to_outside(name):
    solid, inside, target = BODIES[name]
    origin, directions = _rays_at(target, 150, seed=1)
    t = solid.hit(origin, directions)
    points = (origin + t * directions)[:, np.isfinite(t)]
    normals = solid.normal(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-4)
    assert (~inside((points + 0.01 * normals).T)).all()
    assert inside((points - 0.01 * normals).T).mean() > 0.95  # close to an edge, a step inwards may come out again


def test_moving_a_solid_is_moving_the_ray_with_it():
    turn, shift = geometry.rotation(0.7, -0.2, 0.3), np.array([[1.0], [2.0], [-0.5]], np.float32)
    for solid, _, target in BODIES.values():
        origin, directions = _rays_at(target, 50, seed=2)
        (moved,) = geometry.move([solid], turn, shift[:, 0], scale=1.7)
        after = moved.hit(turn @ origin * 1.7 + shift, turn @ directions * 1.7)
        np.testing.assert_allclose(solid.hit(origin, directions), after, rtol=2e-3)


def test_screen_boxes_and_shadow_boxes_cut_nothing_off():
    scene = compose(np.random.default_rng(5), "bicycle", Shot((0.6, 0.9), 0.2, companions=2, clutter=2))
    rays = scene.camera.rays(48, 48)
    depth, owner = visible(scene, rays)
    flat = rays.reshape(3, -1)
    everywhere = np.stack([s.hit(scene.camera.position[:, None], flat) for s in scene.solids])
    nearest = np.minimum(everywhere.min(0), np.float32(58))
    np.testing.assert_array_equal(depth.ravel(), nearest)
    ground = np.flatnonzero(owner.ravel() == 0)
    points = scene.camera.position[:, None] + nearest[ground] * flat[:, ground] + np.float32([[0], [0.01], [0]])
    toward = scene.light.direction.astype(np.float32)[:, None]
    blocked = np.isfinite([s.hit(points, toward) for s in scene.solids[scene.stage :]]).any(0)
    np.testing.assert_array_equal(lit(scene, points), ~blocked)
    assert 0.02 < blocked.mean() < 0.98


def test_the_camera_looks_at_its_target_and_rays_pass_through_pixel_centres():
    camera = Camera.looking(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.5, 0.0]), tangent=0.4)
    seen = np.ravel(camera.project(np.array([[0.0], [0.5], [0.0]])))
    np.testing.assert_allclose(seen, [0, 0, np.sqrt(9 + 2.25 + 1)], atol=1e-5)
    ray = camera.rays(31, 41)[:, 3, 7, None]
    pixel = 2 * 0.4 / 31
    seen = np.ravel(camera.project(camera.position[:, None] + 5 * ray))
    np.testing.assert_allclose(seen, [(7.5 - 20.5) * pixel, (15.5 - 3.5) * pixel, 5], atol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_every_class_stands_on_the_ground_and_shows_only_faces_that_face_the_camera(name):
    scene = compose(np.random.default_rng(3), name, Shot((0.6, 0.9), 0.0))
    rays = scene.camera.rays(40, 40)
    depth, owner = visible(scene, rays)
    seen = np.flatnonzero(owner.ravel() >= 0)
    points = scene.camera.position[:, None] + depth.ravel()[seen] * rays.reshape(3, -1)[:, seen]
    normals, _ = surface(scene.solids, owner.ravel()[seen], points)
    assert (normals * rays.reshape(3, -1)[:, seen]).sum(0).max() < 2e-2
    class_id = VOC_CLASSES.index(name)
    assert (scene.class_ids[owner.ravel()[seen]] == class_id).mean() > 0.03
    lowest = scene.corners[scene.stage :, 1].min()  # with the cabinet under a television
    assert -0.5 < lowest < 0.06 or name == "aeroplane"  # a boat lies in the water, an aeroplane may fly


# --- determinism ---------------------------------------------------------------------------------------------------


def _equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_a_picture_depends_on_seed_and_index_alone(scenes):
    for index in (13, 4):
        assert _equal(render_scene(1, index, SIZE), scenes[index])
    assert not np.array_equal(render_scene(2, 4, SIZE)["image"], scenes[4]["image"])


def test_workers_change_nothing_but_the_time(scenes):
    parallel = render_many("scenes", 1, 9, SIZE, workers=2, progress=False)
    assert all(_equal(a, b) for a, b in zip(parallel, scenes[:9], strict=True))
    alone = render_many("crops", 0, 6, 32, workers=1, progress=False)
    assert [class_id for _, class_id in alone] == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(alone[5][0], render_crop(0, 5, 32)[0])


def test_an_unknown_kind_is_named_with_what_exists():
    with pytest.raises(ValueError, match=r"'videos'.*scenes, crops"):
        render_many("videos", 0, 1)


# --- labels --------------------------------------------------------------------------------------------------------


def test_shapes_and_types(scenes):
    for scene in scenes:
        assert {key: value.dtype for key, value in scene.items()} == DTYPES
        assert {key: value.shape[:2] for key, value in scene.items()} == dict.fromkeys(DTYPES, SIZE)
        assert scene["image"].shape == scene["normals"].shape == (*SIZE, 3)


def test_depth_and_normals_agree_on_the_ground(scenes):
    """On a plane 1/depth is linear in the pixel's place, with a gradient along the normal's x and y."""
    height, width = SIZE
    v, u = np.mgrid[height / 2 - 0.5 : -height / 2 : -1, 0.5 - width / 2 : width / 2]
    checked = 0
    for scene in scenes:
        ground = scene["label_map"] == NORMALS_VALID_IDS[0]  # the first thing of a scene, hence the first id
        if ground.sum() < 300:
            continue
        places = np.stack([u[ground], v[ground], np.ones(ground.sum())], axis=1)
        inverse = 1 / scene["depth"][ground].astype(np.float64)
        gradient, *_ = np.linalg.lstsq(places, inverse, rcond=None)
        np.testing.assert_allclose(places @ gradient, inverse, atol=2e-3 * inverse.max())
        normals = scene["normals"][ground]
        assert np.ptp(normals, axis=0).max() < 1e-4
        x, y, _ = normals[0]
        assert y > 0.3  # the ground faces up
        np.testing.assert_allclose(gradient[0] * y, gradient[1] * x, atol=1e-3 * abs(gradient[1]))
        checked += 1
    assert checked >= 15


def test_sky_is_invalid_and_everything_else_is_not(scenes):
    assert any((s["label_map"] == SKY).any() for s in scenes)
    for scene in scenes:
        sky = scene["label_map"] == SKY
        assert ((scene["depth"] == 255) == sky).all()
        assert ((scene["normals"] == 255).all(2) == sky).all()
        assert (scene["depth"][~sky] > 0).all()
        assert (scene["depth"][~sky] < 60).all()
        assert np.isin(scene["label_map"][~sky], NORMALS_VALID_IDS).all()
        np.testing.assert_allclose(np.linalg.norm(scene["normals"][~sky], axis=1), 1, atol=1e-3)
        assert np.isin(scene["semseg"][sky], (0, 255)).all()


def test_parts_are_the_inside_of_persons(scenes):
    persons = 0
    for scene in scenes:
        parts, semseg = scene["human_parts"], scene["semseg"]
        if (parts == 255).all():
            assert not (semseg == PERSON).any()
            continue
        persons += 1
        assert parts.max() <= 6
        assert np.isin(semseg[parts > 0], (PERSON, 255)).all()
        assert (parts[semseg == PERSON] > 0).all()
    assert persons >= 3


def test_border_is_thin_and_runs_along_outlines(scenes):
    for scene in scenes:
        border = scene["semseg"] == 255
        labels = np.pad(scene["label_map"].astype(int), 1, mode="edge")
        free = np.pad(~border, 1, mode="edge")
        shifts = (np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:])  # the four neighbours
        assert np.any([labels[at] != scene["label_map"] for at in shifts], axis=0)[border].all()
        assert np.any([free[at] for at in shifts], axis=0)[border].mean() > 0.9  # next to a pixel that is none
        assert border.mean() < 0.15


def test_edges_are_the_borders_of_the_label_map(scenes):
    for scene in scenes:
        np.testing.assert_array_equal(scene["edge"], edges_from_label_map(scene["label_map"]))
        assert 0.005 < scene["edge"].mean() < 0.2


def test_salient_things_are_whole_labelled_objects(scenes):
    for scene in scenes:
        salient = scene["sal"] > 0
        assert salient.any()
        assert scene["semseg"][salient].min() > 0
        assert not np.intersect1d(scene["label_map"][salient], scene["label_map"][~salient]).size


# --- crops ---------------------------------------------------------------------------------------------------------


def test_classes_take_turns_and_no_two_crops_are_alike():
    crops = [render_crop(0, index, 16) for index in range(40)]
    assert [class_id for _, class_id in crops] == [*range(1, 21)] * 2
    assert len({image.tobytes() for image, _ in crops}) == 40


def test_contact_sheet_is_the_crops_in_rows():
    sheet = contact_sheet(seed=3, per_class=2, size=24)
    assert sheet.shape == (20 * 24, 2 * 24, 3)
    np.testing.assert_array_equal(sheet[24:48, 24:], render_crop(3, 21, 24)[0])
    labelled = contact_sheet(seed=3, per_class=2, size=24, labels=True)
    np.testing.assert_array_equal(labelled[:, -48:], sheet)
