"""List what can be drawn and how each of it is described.

A concept is one thing to tell apart: the digit 5, the letter a, the word "cat", two red circles. Each
has several captions; images and captions of one concept are positives of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.pocket.drawing import SHAPES

Kind = Literal["digit", "letter", "word", "shape"]

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.12),
    "green": (0.12, 0.65, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.88, 0.15),
    "orange": (0.95, 0.52, 0.08),
    "purple": (0.55, 0.15, 0.70),
    "white": (0.97, 0.97, 0.97),
    "black": (0.04, 0.04, 0.04),
}

# Letters that a pen writes like a digit would teach that two captions fit one image, so they are left out.
LETTERS: tuple[str, ...] = ("Aa", "B", "Cc", "Dd", "Ee", "Ff", "G", "Hh", "Jj", "Kk", "L", "Mm", "Nn", "Pp", "Q", "Rr")
LETTERS += ("Tt", "Uu", "Vv", "Ww", "Xx", "Yy")

WORDS = (  # noqa: SIM905 (words read better than eighty quoted ones)
    "cat dog fish bird cow hen fox bear tree leaf rose corn rice milk cake tea jam car bus bike boat ship "
    "road park wall door lamp desk chair book page map king queen man girl hand foot eye nose face hat "
    "coat rain snow wind fire sand rock hill lake river moon sun star sky day night yes no good bad hot "
    "cold big small up down left right stop go open exit sale free new old"
).split()

_DIGIT_TEMPLATES = (
    'a photo of the number: "{}".',
    "a photo of the number {}.",
    "the number {}",
    "a photo of the digit {}.",
    "the digit {}",
    "a handwritten {}",
    "a photo of a handwritten {}.",
    "a handwritten digit: {}.",
    'an image of the digit "{}".',
    "a picture of the number {}",
    "number {}",
    "a blurry photo of the number {}.",
    "a small picture of a {}.",
    "{}",
)
_LETTER_TEMPLATES = ('a photo of the letter: "{}".', "the letter {}", "a picture of the letter {}.", "letter {}")
_WORD_TEMPLATES = ('a photo of the word: "{}".', 'the word "{}"', 'a sign that says "{}".', "a picture of the word {}.")
_SHAPE_TEMPLATES = ("{}", "a photo of {}.", "a picture of {}", "an image of {}.")
_COUNTS = ("a", "two", "three", "four")


@dataclass(frozen=True)
class Concept:
    """One thing to draw, with all its captions and how often each is chosen.

    `drawn` holds what the pen may draw for it: a digit, a letter in both cases, a word, a shape.
    `weights` are relative: one per caption.
    """

    kind: Kind
    drawn: tuple[str, ...]
    captions: tuple[str, ...]
    weights: tuple[float, ...]
    count: int = 1
    colour: str | None = None


def all_concepts() -> tuple[Concept, ...]:
    """List every concept in a fixed order: digits first, by value."""
    digits = [_digit(value) for value in range(10)]
    letters = [_plain("letter", tuple(cases), _LETTER_TEMPLATES) for cases in LETTERS]
    words = [_plain("word", (word,), _WORD_TEMPLATES) for word in WORDS]
    shapes = [_shape(shape, count, colour) for shape in SHAPES for count in range(1, 5) for colour in COLOURS]
    return (*digits, *letters, *words, *shapes)


def _digit(value: int) -> Concept:
    """Describe a digit by its numeral four times in five, else by its name."""
    by_numeral = [template.format(value) for template in _DIGIT_TEMPLATES]
    by_name = [template.format(NUMBER_WORDS[value]) for template in _DIGIT_TEMPLATES]
    weights = [0.8] * len(by_numeral) + [0.2] * len(by_name)
    return Concept("digit", (str(value),), (*by_numeral, *by_name), tuple(weights))


def _plain(kind: Kind, drawn: tuple[str, ...], templates: tuple[str, ...]) -> Concept:
    captions = tuple(template.format(drawn[0].lower()) for template in templates)
    return Concept(kind, drawn, captions, (1.0,) * len(captions))


def _shape(shape: str, count: int, colour: str) -> Concept:
    article = "an" if count == 1 and colour == "orange" else _COUNTS[count - 1]
    plural = shape if count == 1 else shape + ("es" if shape == "cross" else "s")
    captions = tuple(template.format(f"{article} {colour} {plural}") for template in _SHAPE_TEMPLATES)
    return Concept("shape", (shape,), captions, (1.0,) * len(captions), count, colour)
