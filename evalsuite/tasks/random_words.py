"""Prompts of random words: the control that tells what descriptions say from what many prompts do.

An ensemble of prompts is better than one also where its words say nothing about the class (WaffleCLIP, Roth et al.
2023, arXiv:2306.07282). So a gain of a set of descriptions counts as far as it is above that of as many random ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.tasks.spec import PLACEHOLDER, PromptSpec

START = f"a photo of a {PLACEHOLDER}, which has"
"""The form of the paper's prompts, section 3.2, with two random words in place of a description."""

SEED = 0
"""Random prompts are the same in every run: their label is all that a record says of them."""


def random_prompts(count: int) -> PromptSpec:
    """Return `count` templates, each with two words drawn at random from a list of common ones."""
    words = Path(__file__).with_name("random_words.txt").read_text("utf-8").split()
    drawn = np.random.PCG64(SEED).random_raw(2 * count) % len(words)
    pairs = zip(drawn[::2], drawn[1::2], strict=True)
    templates = [f"{START} {words[first]} {words[second]}." for first, second in pairs]
    return PromptSpec(templates=templates, source="--prompts random")
