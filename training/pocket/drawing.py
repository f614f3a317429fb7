"""Draw ink masks: grey images in which 255 is ink and 0 is paper, whatever the colours will be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from training.pocket.skeletons import SKELETONS, FloatArray, jittered_strokes

CANVAS = 40
"""Side of a mask in pixels: a little more than the model's 32, so that framing rarely enlarges."""

_MARGIN = 3
_SUPERSAMPLE = 3

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")

Mask = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FONT_FILES = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral",
    "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmr10", "cmb10", "cmss10", "cmtt10", "cmti10",
)  # fmt: skip
FONT_COUNT = len(_FONT_FILES) + 1
"""matplotlib's fonts that hold Latin letters and digits, and Pillow's own."""


@cache
def load_font(index: int, size: int) -> Font:
    """Load font `index` of `FONT_COUNT`; the last one is Pillow's default."""
    if index == len(_FONT_FILES):
        return ImageFont.load_default(size)
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{_FONT_FILES[index]}.ttf", size)


def draw_strokes(digit: int, rng: np.random.Generator) -> Mask:
    """Draw one digit as a pen would, in a random style of `SKELETONS`."""
    styles = SKELETONS[digit]
    curves = jittered_strokes(styles[rng.integers(len(styles))], rng)
    thickness = float(np.exp(rng.uniform(math.log(2.2), math.log(8.0))))
    return _render_curves(curves, thickness)


def _render_curves(curves: Sequence[FloatArray], thickness: float) -> Mask:
    """Fit curves into the canvas, keep their proportions, and draw them `thickness` pixels wide."""
    points = np.vstack(curves)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (CANVAS - 2 * _MARGIN - thickness) / max(float((high - low).max()), 1e-3)
    image = Image.new("L", (CANVAS * _SUPERSAMPLE, CANVAS * _SUPERSAMPLE))
    pen = ImageDraw.Draw(image)
    radius = thickness * _SUPERSAMPLE / 2
    for curve in curves:
        path = ((curve - (low + high) / 2) * scale + CANVAS / 2) * _SUPERSAMPLE
        pen.line([(x, y) for x, y in path.tolist()], fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (path[0].tolist(), path[-1].tolist()):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _shrink(image)


def draw_text(text: str, font_index: int) -> Mask:
    """Draw a digit, a letter or a word in one of `FONT_COUNT` fonts, as large as the canvas allows."""
    font = load_font(font_index, 48)
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, fill=255, font=font)
    side = CANVAS - 2 * _MARGIN
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    mask = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - size[0]) // 2, (CANVAS - size[1]) // 2)
    mask.paste(image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR), corner)
    return np.asarray(mask)


def draw_shapes(shape: str, count: int, rng: np.random.Generator) -> Mask:
    """Draw `count` (1 to 4) equal shapes that do not overlap."""
    image = Image.new("L", (CANVAS * _SUPERSAMPLE, CANVAS * _SUPERSAMPLE))
    pen = ImageDraw.Draw(image)
    side = image.width
    if count == 1:
        centres, room = np.array([[side / 2, side / 2]]), side * 0.42
    else:
        cells = rng.permutation(4)[:count]
        centres, room = np.stack([cells % 2, cells // 2], axis=1) * (side / 2) + side / 4, side * 0.22
    radius = float(rng.uniform(0.65, 1.0)) * room
    for centre in centres:
        slack = room - radius
        x, y = (centre + rng.uniform(-slack, slack, 2)).tolist()
        _draw_shape(pen, shape, x, y, radius)
    return _shrink(image)


def _draw_shape(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float) -> None:
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        return
    pen.polygon([(x + radius * u, y + radius * v) for u, v in _outline(shape)], fill=255)


@cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """Return the corners of a shape in the box [-1, 1] x [-1, 1], y down."""
    if shape == "square":
        return ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
    if shape == "triangle":
        return ((0.0, -1.0), (0.95, 0.8), (-0.95, 0.8))
    if shape == "cross":
        a, b = 0.3, 1.0
        return (
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        )
    if shape == "star":
        angles = [math.pi * k / 5 - math.pi / 2 for k in range(10)]
        radii = [1.0 if k % 2 == 0 else 0.42 for k in range(10)]
        return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True))
    if shape == "heart":
        turns = [2 * math.pi * k / 40 for k in range(40)]
        return tuple(
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
            )
            for t in turns
        )
    raise ValueError(f"unknown shape {shape!r}; known shapes: {', '.join(SHAPES)}")


def _shrink(image: Image.Image) -> Mask:
    """Average each block of pixels: the edges of the drawing become smooth."""
    return np.asarray(image.reduce(_SUPERSAMPLE))
