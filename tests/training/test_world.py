"""The toy world: what is drawn is what the scene says, and files mean what arrays mean."""

from io import BytesIO
from random import Random

import numpy as np
import pytest
from PIL import Image

from pandagpt.media.image import MEAN_RGB, STD_RGB
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from pandagpt.training.heldout import held_out
from pandagpt.training.renderings import PICTURE_POOL, draw_depths, draw_pictures, pool
from pandagpt.training.world import files
from pandagpt.training.world.depth import render_depth
from pandagpt.training.world.drawings import DRAWINGS
from pandagpt.training.world.image import COLOUR_RGB, render_image
from pandagpt.training.world.motion import GRAVITY, MOTIONS, render_motion
from pandagpt.training.world.samples import SAMPLES, render_samples
from pandagpt.training.world.sound import RATE_HZ, SOUNDS, render_sound
from pandagpt.training.world.stage import CENTRES, Stage, stage
from pandagpt.training.world.thermal import render_thermal
from pandagpt.training.world.things import (
    COLOURS,
    OPPOSITES,
    POSITIONS,
    THINGS,
    Placed,
    Position,
    Scene,
    Size,
    random_pair,
)

SHAPES = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (15, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}


def one(
    thing: str, colour: str = "red", size: Size = "large", position: Position = "middle"
) -> Stage:
    return stage(Scene((Placed(thing, colour, size, position),)), Random(0))


def drawn_over(scene: Stage) -> np.ndarray:
    """[224, 224]: where the things differ from the empty room."""
    empty = Stage((), scene.backdrop)
    difference = np.asarray(render_image(scene, 224), int) - np.asarray(render_image(empty, 224))
    return (difference != 0).any(-1)


def read(modality: Modality, data: bytes) -> np.ndarray:
    return load(modality, data, MediaOptions(), MediaLimits())


def test_every_thing_can_be_seen_heard_and_felt() -> None:
    assert set(THINGS) == set(DRAWINGS) == set(SOUNDS) == set(MOTIONS)
    assert set(COLOURS) == set(COLOUR_RGB)
    assert len(set(THINGS)) == 20


def test_two_things_differ_and_stand_on_opposite_sides() -> None:
    rng = Random(1)
    for _ in range(50):
        first, second = random_pair(rng).things
        assert first.thing != second.thing
        assert OPPOSITES[first.position] == second.position


@pytest.mark.parametrize("position", POSITIONS)
def test_a_thing_stands_where_its_scene_says(position: Position) -> None:
    rows, columns = np.nonzero(drawn_over(one("clock", position=position)))
    x, y = columns.mean() / 224, rows.mean() / 224
    nearest = min(POSITIONS, key=lambda p: (CENTRES[p][0] - x) ** 2 + (CENTRES[p][1] - y) ** 2)
    assert nearest == position


def test_large_things_cover_more_than_twice_what_small_ones_do() -> None:
    for thing in THINGS:
        large, small = (drawn_over(one(thing, size=size)).sum() for size in ("large", "small"))
        assert large > 2 * small, thing


@pytest.mark.parametrize("colour", COLOURS)
def test_a_thing_has_its_colour(colour: str) -> None:
    pixels = np.asarray(render_image(one("phone", colour), 224))
    assert (pixels == COLOUR_RGB[colour]).all(-1).sum() > 500


def test_a_depth_camera_sees_things_before_the_wall() -> None:
    scene = one("bell")
    millimetres = render_depth(scene, 224)
    thing = drawn_over(scene)
    assert millimetres.dtype == np.uint16
    assert millimetres[thing].mean() < 2200 < 2900 < millimetres[:100][~thing[:100]].min()


def test_heat_is_bright_and_cold_is_dark() -> None:
    for thing, sign in (("kettle", 1), ("fire", 1), ("rain", -1), ("wave", -1)):
        scene = one(thing)
        levels = np.asarray(render_thermal(scene, 224), int)
        body = levels[drawn_over(scene)].mean()
        assert sign * (body - levels[0, 0]) > 30, thing


def test_the_same_lots_give_the_same_sound_and_others_another() -> None:
    first, again, other = (
        render_sound(("frog",), 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert len(first) == RATE_HZ
    assert np.abs(first).max() <= 1
    assert np.abs(first - other).max() > 0.1


def test_a_resting_sensor_feels_gravity_alone() -> None:
    motion = render_motion("clock", 5.0, np.random.default_rng(0))
    assert motion.shape == (6, 1000)
    assert np.linalg.norm(motion[:3].mean(1)) == pytest.approx(GRAVITY, abs=0.3)
    assert np.abs(motion[3:].mean(1)).max() < 0.1


@pytest.mark.parametrize("modality", SHAPES)
def test_files_are_read_by_the_loader(modality: Modality) -> None:
    (item,) = held_out(modality, 1)
    array = read(modality, item.data)
    assert array.shape == SHAPES[modality]
    assert item.scene.names == ("bell",)
    assert [again.data for again in held_out(modality, 1)] == [item.data]


def test_a_depth_file_means_what_training_sees() -> None:
    scene = one("boat")
    file = pool(read(Modality.DEPTH, files.depth_file(scene)), PICTURE_POOL)
    np.testing.assert_allclose(file, draw_depths([scene]).inputs[0], atol=1e-6)


def test_a_picture_file_means_what_training_sees_but_for_smooth_edges() -> None:
    pictures = draw_pictures(8, 0.5, seed=5)
    mean, std = (values[:, None, None] for values in (MEAN_RGB, STD_RGB))
    for scene, pixels in zip(pictures.stages, pictures.pixels, strict=True):
        file = pool(read(Modality.IMAGE, files.image_file(scene)), PICTURE_POOL) * std + mean
        assert np.abs(file * 255 - pixels).mean() < 1.5


def test_a_sound_file_means_what_was_rendered() -> None:
    data = files.audio_file(("bell",), np.random.default_rng(3), seconds=2.0)
    samples = render_sound(("bell",), 2.0, np.random.default_rng(3))
    stored = np.frombuffer(data[44:], "<i2") / 32767
    np.testing.assert_allclose(stored, samples, atol=2e-5)


def test_the_samples_that_ship_are_these_renderings() -> None:
    rendered = render_samples()
    assert {path.name for path in SAMPLES.iterdir()} == set(rendered)
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 1_000_000
    for name, data in rendered.items():
        stored = (SAMPLES / name).read_bytes()
        if name.endswith(".png"):  # compression may differ, pixels may not
            was, now = (np.asarray(Image.open(BytesIO(png))) for png in (stored, data))
            np.testing.assert_array_equal(was, now)
        elif not name.endswith(".mp4"):
            assert stored == data
