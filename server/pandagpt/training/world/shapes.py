"""Flat shapes and the parts that a thing is drawn from.

Points live in the thing's own square, -1..1 to the right and -1..1 down. A part carries what
each sense needs of it: paint for pictures, relief for depth, heat for thermal pictures.
"""

import math
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Shape = tuple[Point, ...]
# `body` and `shade` take the thing's colour; the others are the same in every colour.
Paint = Literal["body", "shade", "dark", "light", "glass", "wood", "gold", "rose"]


@dataclass(frozen=True, slots=True)
class Part:
    """`relief`: metres in front of the thing's plane. `heat`: -1 (icy) .. 1 (burning)."""

    shape: Shape
    paint: Paint
    relief: float
    heat: float


def poly(*points: Point) -> Shape:
    return points


def box(left: float, top: float, right: float, bottom: float) -> Shape:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def disc(x: float, y: float, rx: float, ry: float | None = None) -> Shape:
    return _bow(x, y, rx, ry or rx, 0, 360, 20)


def dome(x: float, y: float, rx: float, ry: float) -> Shape:
    """The upper half of a disc; (x, y) is the middle of its flat side."""
    return _bow(x, y, rx, ry, 180, 360, 12)


def stroke(x0: float, y0: float, x1: float, y1: float, width: float) -> Shape:
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (y0 - y1) / length * width / 2, (x1 - x0) / length * width / 2
    return ((x0 + dx, y0 + dy), (x1 + dx, y1 + dy), (x1 - dx, y1 - dy), (x0 - dx, y0 - dy))


def arc(x: float, y: float, radius: float, start: float, stop: float, width: float) -> Shape:
    """A piece of a ring from `start` to `stop` degrees, clockwise, 0 to the right."""
    outer, inner = radius + width / 2, radius - width / 2
    there = _bow(x, y, outer, outer, start, stop, 14)
    return (*there, *reversed(_bow(x, y, inner, inner, start, stop, 14)))


def _bow(x: float, y: float, rx: float, ry: float, start: float, stop: float, steps: int) -> Shape:
    angles = (math.radians(start + (stop - start) * k / steps) for k in range(steps + 1))
    return tuple((x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles)
