"""A stage seen by a thermal camera: 8-bit grey, warmer is brighter, slightly blurred."""

from random import Random

from PIL import Image, ImageDraw, ImageFilter

from pandagpt.training.world.drawings import DRAWINGS
from pandagpt.training.world.stage import Stage

AMBIENT_LEVEL = (85, 115)
LEVELS_PER_HEAT = 110
BLUR = 0.007


def render_thermal(stage: Stage, side: int) -> Image.Image:
    rng = Random(stage.backdrop)
    ambient = rng.randint(*AMBIENT_LEVEL)
    picture = Image.new("L", (side, side), ambient)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, round(0.68 * side), side, side), fill=ambient - 6)
    for actor in stage.actors:
        for part in DRAWINGS[actor.placed.thing]:
            level = round(ambient + LEVELS_PER_HEAT * part.heat)
            fill = min(255, max(0, level))
            draw.polygon(actor.outline(part.shape, side), fill=fill)
    return picture.filter(ImageFilter.GaussianBlur(BLUR * side))
