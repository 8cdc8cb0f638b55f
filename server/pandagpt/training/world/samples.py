"""The sample files that ship with the package: renderings no model was trained on.

`python -m pandagpt.training.world.samples` draws them anew, byte for byte but for the video
encoder's version.
"""

from pathlib import Path
from random import Random

import numpy as np

from pandagpt.training.world.files import (
    audio_file,
    depth_file,
    image_file,
    imu_file,
    thermal_file,
    video_file,
)
from pandagpt.training.world.stage import Stage, stage
from pandagpt.training.world.things import Placed, Position, Scene, Size

SAMPLES = Path(__file__).parents[2] / "samples"
# Training draws from small seeds, evaluation from 900 000 on.
SEED = 800_000
SIDE = 384


def render_samples() -> dict[str, bytes]:
    """File name -> bytes."""
    return {
        "red_car.png": image_file(_one("car", "red"), SIDE),
        "blue_bird.png": image_file(_one("bird", "blue", "small", "top"), SIDE),
        "green_frog.png": image_file(_one("frog", "green", "large", "left"), SIDE),
        "frog.wav": _sound("frog"),
        "guitar.wav": _sound("guitar"),
        "rain.wav": _sound("rain"),
        "dog.wav": _sound("dog"),
        "train.mp4": video_file(_one("train", "black")),
        "helicopter.mp4": video_file(_one("helicopter", "yellow")),
        "boat.depth.png": depth_file(_one("boat", "white")),
        "guitar.depth.png": depth_file(_one("guitar", "orange")),
        "kettle.thermal.png": thermal_file(_one("kettle", "blue")),
        "dog.thermal.png": thermal_file(_one("dog", "white")),
        "horse.imu.csv": _motion("horse"),
        "bell.imu.csv": _motion("bell"),
        "phone.imu.csv": _motion("phone"),
    }


def main() -> None:
    SAMPLES.mkdir(exist_ok=True)
    for name, data in render_samples().items():
        (SAMPLES / name).write_bytes(data)


def _one(thing: str, colour: str, size: Size = "large", position: Position = "middle") -> Stage:
    return stage(Scene((Placed(thing, colour, size, position),)), Random(f"{SEED}/{thing}"))


def _sound(thing: str) -> bytes:
    return audio_file((thing,), _noise(thing))


def _motion(thing: str) -> bytes:
    return imu_file(thing, _noise(thing), seconds=4.0)


def _noise(thing: str) -> np.random.Generator:
    return np.random.default_rng([SEED, *thing.encode()])


if __name__ == "__main__":
    main()
