"""Turn ink masks into the images a camera, a scanner or a coarse grid would give.

The order is that of the world: the pen's width, the hand's slant, the framing, the resolution, the
colours, and last the sensor's blur and noise. All of it works on a batch, from one generator.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from training.pocket.drawing import CANVAS

OUTPUT = 32
"""Side of the images that the model takes."""

_WARPED = 48
_MNIST_FILL = 20 / 28  # MNIST fits a digit into 20 x 20 pixels of 28, around its centre of mass
_COARSE = 8  # scikit-learn's digits: 32 x 32 bitmaps counted in 4 x 4 blocks, so 8 x 8 with levels 0..16
_THIN = 0.22  # share of ink below which a line is made bolder before the coarse grid

FREE, MNIST_LIKE, TIGHT = 0, 1, 2


class Augmenter:
    """Random images from masks; draws everything from its own generator."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, masks: torch.Tensor, colour: torch.Tensor, legible: torch.Tensor) -> torch.Tensor:
        """Augment a batch.

        masks: (n, CANVAS, CANVAS) uint8. colour: (n, 3), the ink's colour, NaN where any will do.
        legible: (n,) bool, true where detail matters too much for the coarse grid.
        Returns (n, 3, OUTPUT, OUTPUT) float32 in [0, 1].
        """
        ink = masks[:, None].float() / 255
        ink = self._pen_width(ink)
        ink = self._warp(ink)
        framing = torch.randint(0, 3, (len(ink),), generator=self._generator)
        ink = self._frame(ink, framing)
        ink = self._coarsen(ink, (framing == TIGHT) & ~legible)
        images = self._paint(ink, colour)
        return self._sense(images)

    def _uniform(self, count: int, low: float, high: float) -> torch.Tensor:
        return torch.rand(count, generator=self._generator) * (high - low) + low

    def _chance(self, count: int, probability: float) -> torch.Tensor:
        return torch.rand(count, generator=self._generator) < probability

    def _pen_width(self, ink: torch.Tensor) -> torch.Tensor:
        """Make some lines a pixel bolder on each side, and some half as much thinner."""
        draw = self._uniform(len(ink), 0, 1)
        bold, thin = draw < 0.2, draw > 0.9
        result = ink.clone()
        result[bold] = functional.max_pool2d(ink[bold], 3, stride=1, padding=1)
        result[thin] = (ink[thin] - functional.max_pool2d(-ink[thin], 3, stride=1, padding=1)) / 2
        return result

    def _warp(self, ink: torch.Tensor) -> torch.Tensor:
        """Rotate, shear, stretch and bend; the result has room around it for what turns outwards."""
        n = len(ink)
        turn = self._uniform(n, -0.3, 0.3)
        shear = self._uniform(n, -0.3, 0.3)
        stretch = self._uniform(n, -0.15, 0.15).exp()
        room = _WARPED / CANVAS
        cos, sin = turn.cos() * room, turn.sin() * room
        rows = torch.stack(
            [
                torch.stack([cos * stretch, (shear * cos - sin) / stretch, torch.zeros(n)], dim=1),
                torch.stack([sin * stretch, (shear * sin + cos) / stretch, torch.zeros(n)], dim=1),
            ],
            dim=1,
        )
        grid = functional.affine_grid(rows, [n, 1, _WARPED, _WARPED], align_corners=False)
        coarse = torch.randn(n, 2, 5, 5, generator=self._generator)
        coarse = coarse * self._uniform(n, 0, 0.07)[:, None, None, None]
        bend = functional.interpolate(coarse, (_WARPED, _WARPED), mode="bicubic", align_corners=True)
        return functional.grid_sample(ink, grid + bend.permute(0, 2, 3, 1), align_corners=False)

    def _frame(self, ink: torch.Tensor, framing: torch.Tensor) -> torch.Tensor:
        """Cut an OUTPUT x OUTPUT view: anywhere, as MNIST does, or exactly around the ink."""
        n = len(ink)
        low, high, mass = _extent(ink)
        size, middle = high - low, (low + high) / 2
        longest = size.amax(dim=1)
        free = self._uniform(n, 0.45, 1.0) * OUTPUT / longest
        mnist = self._uniform(n, 0.92, 1.08) * _MNIST_FILL * OUTPUT / longest
        tight = OUTPUT / size[:, 1]
        scale_y = torch.where(framing == FREE, free, torch.where(framing == MNIST_LIKE, mnist, tight))
        scale_x = torch.where(framing == TIGHT, scale_y * self._uniform(n, 0.85, 1.15), scale_y)
        scale = torch.stack([torch.minimum(scale_x, OUTPUT / size[:, 0]), scale_y], dim=1)
        slack = (OUTPUT - size * scale).clamp_min(0) / 2
        shift = (torch.rand(n, 2, generator=self._generator) * 2 - 1) * slack
        is_free, is_mnist = (framing == FREE)[:, None], (framing == MNIST_LIKE)[:, None]
        centre = torch.where(is_mnist, mass, middle) - torch.where(is_free, shift / scale, 0.0)
        # Output pixel -> warped pixel, then to grid_sample's [-1, 1].
        offsets = torch.arange(OUTPUT) + 0.5 - OUTPUT / 2
        source = centre[:, :, None] + offsets / scale[:, :, None]
        unit = source / (_WARPED / 2) - 1
        grid = torch.stack(
            [unit[:, 0, None, :].expand(n, OUTPUT, OUTPUT), unit[:, 1, :, None].expand(n, OUTPUT, OUTPUT)],
            dim=3,
        )
        return functional.grid_sample(ink, grid, align_corners=False)

    def _coarsen(self, ink: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        """Pass most candidates through the 8 x 8 grid of 17 levels, and a few others through 16 x 16."""
        n = len(ink)
        result = ink.clone()
        half = self._chance(n, 0.1)
        result[half] = _enlarge(functional.avg_pool2d(ink[half], 2))
        coarse = candidates & self._chance(n, 0.8)
        threshold = self._uniform(n, 0.3, 0.6)[coarse, None, None, None]
        lines = ink[coarse]
        # The pen of such bitmaps is thick for their size: thin lines would vanish between the blocks.
        thin = lines.mean(dim=(1, 2, 3), keepdim=True) < _THIN
        lines = torch.where(thin, functional.max_pool2d(lines, 3, stride=1, padding=1), lines)
        blocks = functional.avg_pool2d((lines > threshold).float(), OUTPUT // _COARSE)
        result[coarse] = _enlarge((blocks * 16).round() / 16)
        return result

    def _paint(self, ink: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
        """Give ink and paper their colours: white on black, black on white, or two that differ."""
        n = len(ink)
        draw = self._uniform(n, 0, 1)[:, None]
        front = torch.rand(n, 3, generator=self._generator)
        back = torch.rand(n, 3, generator=self._generator)
        front = torch.where(draw < 0.4, 1.0, torch.where(draw < 0.5, 0.0, front))
        named = ~colour.isnan().any(dim=1, keepdim=True)
        jitter = torch.randn(n, 3, generator=self._generator) * 0.04
        front = torch.where(named, (colour.nan_to_num() + jitter).clamp(0, 1), front)
        plain = ((front.mean(dim=1, keepdim=True) < 0.5).float()).expand(n, 3)
        # Paper too close to the ink becomes its far end: a picture nobody can read teaches nothing.
        near = (front - back).abs().mean(dim=1, keepdim=True) < 0.3
        back = torch.where(near | (~named & (draw < 0.5)), plain, back)
        return back[:, :, None, None] + ink * (front - back)[:, :, None, None]

    def _sense(self, images: torch.Tensor) -> torch.Tensor:
        """Blur one image in five and add noise to three in ten."""
        n = len(images)
        blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        images = torch.where(self._chance(n, 0.2)[:, None, None, None], blurred, images)
        sigma = self._uniform(n, 0, 0.12) * self._chance(n, 0.3)
        noise = torch.randn(images.shape, generator=self._generator) * sigma[:, None, None, None]
        return (images + noise).clamp(0, 1)


def _enlarge(ink: torch.Tensor) -> torch.Tensor:
    """Resize a small grid as the model's preprocessing would."""
    return functional.interpolate(ink, (OUTPUT, OUTPUT), mode="bilinear", align_corners=False)


def _extent(ink: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Measure where the ink is.

    ink: (n, 1, side, side). Returns low and high corners and centre of mass, each (n, 2) as (x, y) in
    pixels, with pixel k covering [k, k + 1).
    """
    side = ink.shape[-1]
    index = torch.arange(side)
    lows, highs, masses = [], [], []
    for axis in (2, 3):  # summing over rows (2) leaves x, over columns (3) leaves y
        used = ink.amax(dim=axis)[:, 0] > 0.25
        lows.append(torch.where(used, index, side).amin(dim=1))
        highs.append(torch.where(used, index + 1, 0).amax(dim=1))
        line = ink.sum(dim=axis)[:, 0]
        masses.append((line * (index + 0.5)).sum(dim=1) / line.sum(dim=1).clamp_min(1e-6))
    low, high = torch.stack(lows, dim=1).float(), torch.stack(highs, dim=1).float()
    empty = high <= low
    low, high = torch.where(empty, 0.0, low), torch.where(empty, float(side), high)
    # A lone thin stem has a width of a pixel or two; the floor keeps its scale finite.
    grow = (math.sqrt(2) * 2 - (high - low)).clamp_min(0) / 2
    return low - grow, high + grow, torch.stack(masses, dim=1)
