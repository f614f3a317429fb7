"""Learn byte pair merges from the captions, in the file format of open_clip's `SimpleTokenizer`."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

Symbols = tuple[str, ...]
Pair = tuple[str, str]

_PIECES = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")  # what SimpleTokenizer's pattern finds in ASCII text
_HEADER = "# byte pair merges learned from the captions of training/pocket"

BASE_VOCABULARY = 2 * 256 + 2
"""Every byte inside and at the end of a word, start of text, end of text."""


def learn_merges(captions: Iterable[str], limit: int) -> list[Pair]:
    """Merge the most frequent neighbouring symbols again and again.

    Stops after `limit` merges or when no pair occurs twice. Ties go to the alphabetically first pair,
    so the result depends on nothing but the captions, which must be printable ASCII.
    """
    words: Counter[Symbols] = Counter()
    for caption in captions:
        for piece in _PIECES.findall(caption.lower()):
            words[(*piece[:-1], piece[-1] + "</w>")] += 1
    merges: list[Pair] = []
    while len(merges) < limit:
        pairs: Counter[Pair] = Counter()
        for symbols, count in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        words = Counter({_merge(symbols, best): count for symbols, count in words.items()})
    return merges


def _merge(symbols: Symbols, pair: Pair) -> Symbols:
    """Join every occurrence of the pair, from the left."""
    merged: list[str] = []
    position = 0
    while position < len(symbols):
        if symbols[position : position + 2] == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return tuple(merged)


def write_merges(merges: list[Pair], path: Path) -> None:
    """Write the merges as gzip text: a header line, then one pair per line.

    There is no last newline, which would read as one more, empty merge, and no time stamp, so equal
    merges give equal bytes.
    """
    text = "\n".join([_HEADER, *(f"{left} {right}" for left, right in merges)])
    path.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0))
