"""Draw the images of this example: `python examples/custom_dataset/make_images.py`.

Three classes, a colour and a shape each, on grey noise; eight images of each to train and four to test. The numbers
are seeded, so the same images come out again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 24
COUNTS = {"train": 8, "test": 4}
SHAPES = {
    "red_circle": ("circle", (205, 45, 40)),
    "green_square": ("square", (50, 165, 70)),
    "blue_triangle": ("triangle", (45, 80, 205)),
}


def draw(shape: str, colour: tuple[int, int, int], rng: np.random.Generator) -> Image.Image:
    """Draw one shape of a random size at a random place."""
    shade, radius = int(rng.integers(90, 200)), int(rng.integers(5, 9))
    x, y = (int(value) for value in rng.integers(radius + 1, SIDE - radius - 1, 2))
    image = Image.new("RGB", (SIDE, SIDE), (shade, shade, shade))
    canvas = ImageDraw.Draw(image)
    if shape == "circle":
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape == "square":
        canvas.rectangle((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        canvas.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    noise = rng.integers(-6, 7, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.int16) + noise, 0, 255).astype(np.uint8))


def main(folder: Path = Path(__file__).parent) -> None:
    """Write <pool>/<class>/<number>.png."""
    rng = np.random.default_rng(0)
    for pool, count in COUNTS.items():
        for key, (shape, colour) in SHAPES.items():
            target = folder / pool / key
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                draw(shape, colour, rng).save(target / f"{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main()
