"""A stage seen by a colour camera: flat polygons on a plain wall and floor, RGB bytes.

Grain and lighting are added in training; a file gets none, so that samples stay small.
"""

from random import Random

from PIL import Image, ImageDraw

from pandagpt.training.world.drawings import DRAWINGS
from pandagpt.training.world.shapes import Paint
from pandagpt.training.world.stage import Actor, Stage

RGB = tuple[int, int, int]

COLOUR_RGB: dict[str, RGB] = {
    "red": (214, 46, 44),
    "green": (48, 158, 72),
    "blue": (42, 96, 210),
    "yellow": (247, 212, 50),
    "purple": (138, 64, 180),
    "orange": (242, 130, 32),
    "white": (247, 247, 245),
    "black": (38, 38, 42),
}
FIXED_RGB: dict[Paint, RGB] = {
    "dark": (52, 52, 60),
    "light": (236, 236, 228),
    "glass": (168, 206, 226),
    "wood": (140, 96, 58),
    "gold": (232, 186, 62),
    "rose": (226, 138, 150),
}
# (wall, floor): muted, so that none is taken for a thing's colour.
BACKDROPS: tuple[tuple[RGB, RGB], ...] = (
    ((186, 206, 216), (168, 186, 160)),
    ((216, 204, 184), (184, 166, 142)),
    ((190, 210, 196), (160, 180, 168)),
    ((176, 178, 184), (148, 150, 158)),
    ((204, 196, 214), (174, 166, 188)),
    ((214, 194, 192), (182, 164, 166)),
)
HORIZON = 0.68


def render_image(stage: Stage, height: int, width: int | None = None) -> Image.Image:
    picture = Image.new("RGB", (width or height, height))
    draw = ImageDraw.Draw(picture)
    _backdrop(draw, stage.backdrop, picture.width, height)
    for actor in stage.actors:
        _draw(draw, actor, height)
    return picture


def _backdrop(draw: ImageDraw.ImageDraw, seed: int, width: int, height: int) -> None:
    rng = Random(seed)
    wall, floor = rng.choice(BACKDROPS)
    light = rng.uniform(0.88, 1.1)
    horizon = round(height * (HORIZON + rng.uniform(-0.06, 0.06)))
    draw.rectangle((0, 0, width, height), fill=_scaled(wall, light))
    draw.rectangle((0, horizon, width, height), fill=_scaled(floor, light))


def _draw(draw: ImageDraw.ImageDraw, actor: Actor, side: int) -> None:
    body = COLOUR_RGB[actor.placed.colour]
    line = max(1, round(0.045 * actor.radius * side))
    for part in DRAWINGS[actor.placed.thing]:
        fill = _paint(part.paint, body)
        outline = _scaled(fill, 0.6)
        draw.polygon(actor.outline(part.shape, side), fill=fill, outline=outline, width=line)


def _paint(paint: Paint, body: RGB) -> RGB:
    if paint == "body":
        return body
    if paint == "shade":
        return _scaled(body, 0.78)
    return FIXED_RGB[paint]


def _scaled(colour: RGB, factor: float) -> RGB:
    red, green, blue = (min(255, round(channel * factor)) for channel in colour)
    return (red, green, blue)
