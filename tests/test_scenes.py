"""The embedded data set: the same bytes for everybody, and labels that are true to the geometry."""

import numpy as np
import pytest

from mtlora_lite.pascal_mt import NORMALS_VALID_IDS, edges_from_label_map
from mtlora_lite.scenes import contact_sheet, geometry, render_crop, render_many, render_scene
from mtlora_lite.scenes.compose import KINDS, compose
from mtlora_lite.scenes.labels import SKY
from mtlora_lite.scenes.render import Camera, lit, visible
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


def _axis_frame(p):
    """Height of points (N, 3) along A-B, and distance from that line."""
    axis = (B - A) / np.linalg.norm(B - A)
    y = (p - A) @ axis
    return y, np.linalg.norm(p - A - y[:, None] * axis, axis=1)


def _in_round_cone(p):
    s = np.linspace(0, 1, 4001)[:, None, None]
    return (np.linalg.norm(p - (A + s * (B - A)), axis=2) <= 0.4 + s[..., 0] * (0.15 - 0.4)).any(0)


def _in_frustum(p):
    y, r = _axis_frame(p)
    h = np.linalg.norm(B - A)
    return (y >= 0) & (y <= h) & (r <= 0.4 + y / h * (0.15 - 0.4))


def _in_tube(p):
    y, r = _axis_frame(p)
    return (np.abs(y) <= 0.1) & (r <= 0.6) & (r >= 0.35)


def _in_ellipsoid(p):
    turn = geometry.rotation(0.4, 0.3, -0.6)
    return ((((p - A) @ turn) / [0.5, 0.2, 0.7]) ** 2).sum(1) <= 1


def _in_box(p):
    turn = geometry.rotation(0.4, 0.3, -0.6)
    return (np.abs((p - A) @ turn) <= np.array([0.5, 0.2, 0.7]) / 2).all(1)


BODIES = {
    "round cone": (geometry.limb(A, B, 0.4, 0.15, None), _in_round_cone),
    "frustum": (geometry.rod(A, B, 0.4, None, 0.15), _in_frustum),
    "tube": (geometry.ring(A, B - A, 0.6, 0.35, 0.2, None), _in_tube),
    "ellipsoid": (geometry.ellipsoid(A, (0.5, 0.2, 0.7), None, yaw=0.4, pitch=0.3, roll=-0.6), _in_ellipsoid),
    "box": (geometry.box(A, (0.5, 0.2, 0.7), None, yaw=0.4, pitch=0.3, roll=-0.6), _in_box),
}


@pytest.mark.parametrize("name", BODIES)
def test_rays_meet_a_solid_where_marching_along_them_first_enters_it(name):
    solid, inside = BODIES[name]
    rng = np.random.default_rng(0)
    origin = np.array([2.0, 1.5, 2.5])
    directions = (A + B) / 2 + rng.uniform(-0.5, 0.5, (60, 3)) - origin
    t = solid.hit(origin[:, None].astype(np.float32), directions.T.astype(np.float32))
    steps = np.linspace(0.3, 1.7, 1401)
    marched = np.array([inside(origin + steps[:, None] * d) for d in directions])  # (60, 1401)
    first = np.where(marched.any(1), steps[marched.argmax(1)], np.inf)
    assert 10 < np.isfinite(first).sum() < 60
    both = np.isfinite(t) & np.isfinite(first)
    assert (np.isfinite(t) != np.isfinite(first)).sum() <= 2  # a ray may graze by less than a step
    np.testing.assert_allclose(t[both], first[both], atol=4e-3)


@pytest.mark.parametrize("name", BODIES)
def test_normals_point_from_inside_to_outside(name):
    solid, inside = BODIES[name]
    rng = np.random.default_rng(1)
    origin = np.array([-2.0, 1.0, 2.0], np.float32)
    directions = ((A + B) / 2 + rng.uniform(-0.5, 0.5, (80, 3)) - origin).T.astype(np.float32)
    t = solid.hit(origin[:, None], directions)
    points = (origin[:, None] + t * directions)[:, np.isfinite(t)]
    normals = solid.normal(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-4)
    outside, within = (points + 0.01 * normals).T, (points - 0.01 * normals).T
    assert (~inside(outside)).mean() > 0.97  # edges may be cut
    assert inside(within).mean() > 0.97


def test_moving_a_solid_is_moving_the_ray_the_other_way():
    turn, shift = geometry.rotation(0.7, -0.2, 0.3), np.array([1.0, 2.0, -0.5], np.float32)
    origin = np.array([2.0, 1.5, 2.5], np.float32)
    directions = (np.random.default_rng(2).uniform(-0.6, 0.6, (50, 3)) - origin).T.astype(np.float32)
    for solid, _ in BODIES.values():
        (moved,) = geometry.move([solid], turn, shift, 1.7)
        before = solid.hit(origin[:, None], directions)
        after = moved.hit((turn @ origin * 1.7 + shift)[:, None], turn @ directions * np.float32(1.7))
        np.testing.assert_allclose(before, after, rtol=2e-3)


def test_screen_boxes_and_shadow_boxes_cut_nothing_off():
    scene = compose(np.random.default_rng(5), "bicycle", 2, (0.6, 0.9), 2, 0.2)
    rays = scene.camera.rays(48, 48)
    depth, owner = visible(scene, rays)
    flat = rays.reshape(3, -1)
    everywhere = np.stack([s.hit(scene.camera.position[:, None], flat) for s in scene.solids])
    nearest = np.minimum(everywhere.min(0), 58.0)
    np.testing.assert_array_equal(depth.ravel(), nearest.astype(np.float32))
    ground = np.flatnonzero(owner.ravel() == 0)
    points = scene.camera.position[:, None] + nearest[ground] * flat[:, ground] + np.float32([[0], [0.01], [0]])
    toward = scene.light.direction.astype(np.float32)[:, None]
    hits = np.stack([s.hit(points, toward) for s in scene.solids[scene.stage :]])
    np.testing.assert_array_equal(lit(scene, points), ~np.isfinite(hits).any(0))
    assert 0 < lit(scene, points).mean() < 1


def test_the_camera_looks_at_its_target():
    camera = Camera.looking(np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.5, 0.0]), 0.4)
    u, v, depth = camera.project(np.array([[0.0], [0.5], [0.0]]))
    np.testing.assert_allclose([u[0], v[0], depth[0]], [0, 0, np.sqrt(9 + 2.25 + 1)], atol=1e-5)
    rays = camera.rays(31, 41)
    u, v, depth = camera.project(camera.position[:, None] + 5 * rays[:, 3, 7, None])
    pixel = 2 * 0.4 / 31
    np.testing.assert_allclose([u[0], v[0], depth[0]], [(7.5 - 20.5) * pixel, (15.5 - 3.5) * pixel, 5], atol=1e-4)


# --- determinism ---------------------------------------------------------------------------------------------------


def _equal(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_a_picture_depends_on_seed_and_index_alone(scenes):
    np.random.default_rng(3).standard_normal(7)
    for index in (13, 4):
        assert _equal(render_scene(1, index, SIZE), scenes[index])
    assert not np.array_equal(render_scene(2, 4, SIZE)["image"], scenes[4]["image"])


def test_workers_change_nothing_but_the_time(scenes):
    parallel = render_many("scenes", 1, 9, SIZE, workers=2, progress=False)
    assert all(_equal(a, b) for a, b in zip(parallel, scenes[:9], strict=True))
    alone = render_many("crops", 0, 6, 32, workers=1, progress=False)
    assert [class_id for _, class_id in alone] == [1, 2, 3, 4, 5, 6]


def test_an_unknown_kind_is_named_with_what_exists():
    with pytest.raises(ValueError, match=r"'videos'.*scenes, crops"):
        render_many("videos", 0, 1)


# --- labels --------------------------------------------------------------------------------------------------------


def test_shapes_and_types(scenes):
    for scene in scenes:
        assert {key: value.dtype for key, value in scene.items()} == DTYPES
        assert {key: value.shape[:2] for key, value in scene.items()} == dict.fromkeys(DTYPES, SIZE)
        assert scene["image"].shape == scene["normals"].shape == (*SIZE, 3)


def _rays(scene_depth):
    """There is no camera in a sample: (u, v, -1) up to the unknown focal length, pixel units."""
    height, width = scene_depth.shape
    v, u = np.mgrid[:height, :width]
    return u + 0.5 - width / 2, height / 2 - v - 0.5


def test_normals_are_unit_and_face_the_viewer():
    for index in range(12):
        scene = compose(np.random.default_rng(index), list(KINDS)[index], 2, (0.5, 1.0), 2, 0.2)
        rays = scene.camera.rays(*SIZE)
        _, owner = visible(scene, rays)
        sample_normals = _world_normals(scene, rays)
        facing = (sample_normals * rays.transpose(1, 2, 0)).sum(2)[owner >= 0]
        assert facing.max() < 2e-2


def _world_normals(scene, rays):
    from mtlora_lite.scenes.render import surface

    depth, owner = visible(scene, rays)
    normals = np.zeros((3, owner.size), np.float32)
    seen = np.flatnonzero(owner.ravel() >= 0)
    points = scene.camera.position[:, None] + depth.ravel()[seen] * rays.reshape(3, -1)[:, seen]
    normals[:, seen], _ = surface(scene.solids, owner.ravel()[seen], points)
    return normals.T.reshape(*owner.shape, 3)


def test_depth_and_normals_agree_on_the_ground(scenes):
    """On a plane 1/depth is linear in pixel coordinates, and its gradient is parallel to the normal's x and y."""
    checked = 0
    for scene in scenes:
        # the ground is the first thing of a scene, hence the first id
        ground = scene["label_map"] == NORMALS_VALID_IDS[0]
        if ground.sum() < 300:
            continue
        u, v = _rays(scene["depth"])
        columns = np.stack([u[ground], v[ground], np.ones(ground.sum())], axis=1)
        inverse = 1 / scene["depth"][ground].astype(np.float64)
        fit, *_ = np.linalg.lstsq(columns, inverse, rcond=None)
        np.testing.assert_allclose(columns @ fit, inverse, atol=2e-3 * inverse.max())
        normal = scene["normals"][ground]
        assert np.ptp(normal, axis=0).max() < 1e-4
        np.testing.assert_allclose(-fit[0] * normal[0, 1], -fit[1] * normal[0, 0], atol=1e-4 * abs(fit[1]) + 1e-6)
        assert normal[0, 1] > 0.3  # the ground faces up
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
        assert (scene["semseg"][sky] % 255 == 0).all()


def test_parts_lie_inside_persons(scenes):
    persons = 0
    for scene in scenes:
        parts, semseg = scene["human_parts"], scene["semseg"]
        if (semseg == PERSON).any():
            persons += 1
            assert parts.max() <= 6
            assert np.isin(semseg[parts > 0], (PERSON, 255)).all()
            assert (parts[semseg == PERSON] > 0).all()
        elif not (semseg == 255).any() or parts.max() == 255:
            assert (parts == 255).all()
    assert persons >= 3


def test_border_is_thin_and_only_around_objects(scenes):
    for scene in scenes:
        border = scene["semseg"] == 255
        assert border.mean() < 0.15
        grown = np.pad(~border, 1, mode="edge")
        around = grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
        assert around[border].mean() > 0.95  # nearly every border pixel touches something that is none
        labels = np.pad(scene["label_map"], 1, mode="edge").astype(int)
        same = [
            labels[1:-1, 1:-1] == n for n in (labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:])
        ]
        assert not np.logical_and.reduce(same)[border].any()


def test_edges_are_the_borders_of_the_label_map(scenes):
    for scene in scenes:
        np.testing.assert_array_equal(scene["edge"], edges_from_label_map(scene["label_map"]))
        assert 0.005 < scene["edge"].mean() < 0.2


def test_salient_is_some_labelled_object(scenes):
    for scene in scenes:
        salient = scene["sal"] > 0
        assert salient.any()
        assert scene["semseg"][salient].min() > 0
        for thing in np.unique(scene["label_map"][salient]):  # whole objects
            assert salient[scene["label_map"] == thing].all()


# --- crops ---------------------------------------------------------------------------------------------------------


def test_classes_take_turns_and_crops_differ():
    crops = [render_crop(0, index, 16) for index in range(40)]
    assert [class_id for _, class_id in crops] == [*range(1, 21)] * 2
    assert len({image.tobytes() for image, _ in crops}) == 40


def test_contact_sheet_is_the_crops_in_rows():
    sheet = contact_sheet(seed=3, per_class=2, size=24)
    assert sheet.shape == (20 * 24, 2 * 24, 3)
    np.testing.assert_array_equal(sheet[24:48, 24:], render_crop(3, 21, 24)[0])
    labelled = contact_sheet(seed=3, per_class=2, size=24, labels=True)
    np.testing.assert_array_equal(labelled[:, -48:], sheet)
