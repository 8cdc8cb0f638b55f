"""Where the things of a scene stand: the pose that all cameras share.

A scene in words goes in; centre, radius, angle and mirroring come out, as fractions of the
picture's side. Image, depth and thermal renderers draw the same stage.
"""

import math
from dataclasses import dataclass, replace
from random import Random

from pandagpt.training.world.shapes import Point, Shape
from pandagpt.training.world.things import Placed, Position, Scene, Size

CENTRES: dict[Position, Point] = {
    "left": (0.26, 0.5),
    "right": (0.74, 0.5),
    "top": (0.5, 0.26),
    "bottom": (0.5, 0.74),
    "middle": (0.5, 0.5),
}
RADII: dict[Size, float] = {"small": 0.14, "large": 0.23}
JITTER = 0.03
TILT_DEGREES = 9.0


@dataclass(frozen=True, slots=True)
class Actor:
    """One thing with its pose. Lengths are fractions of the picture's height."""

    placed: Placed
    x: float
    y: float
    radius: float
    angle: float
    mirrored: bool

    def moved(self, dx: float, dy: float, turn: float = 0.0) -> "Actor":
        return replace(self, x=self.x + dx, y=self.y + dy, angle=self.angle + turn)

    def outline(self, shape: Shape, side: int) -> list[Point]:
        """A part's shape in pixels of a picture `side` high."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        flip = -1.0 if self.mirrored else 1.0
        return [
            (
                side * (self.x + self.radius * (flip * px * cos - py * sin)),
                side * (self.y + self.radius * (flip * px * sin + py * cos)),
            )
            for px, py in shape
        ]


@dataclass(frozen=True, slots=True)
class Stage:
    actors: tuple[Actor, ...]
    backdrop: int

    @property
    def scene(self) -> Scene:
        return Scene(tuple(actor.placed for actor in self.actors))

    def moved(self, dx: float, dy: float, turn: float = 0.0) -> "Stage":
        return replace(self, actors=tuple(a.moved(dx, dy, turn) for a in self.actors))


def stage(scene: Scene, rng: Random) -> Stage:
    actors = tuple(_pose(placed, rng) for placed in scene.things)
    return Stage(actors, rng.randrange(1 << 30))


def _pose(placed: Placed, rng: Random) -> Actor:
    x, y = CENTRES[placed.position]
    tilt = math.radians(rng.uniform(-TILT_DEGREES, TILT_DEGREES))
    return Actor(
        placed,
        x + rng.uniform(-JITTER, JITTER),
        y + rng.uniform(-JITTER, JITTER),
        RADII[placed.size] * rng.uniform(0.9, 1.1),
        tilt,
        rng.random() < 0.5,
    )
