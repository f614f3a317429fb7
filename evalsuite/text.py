"""Words in messages: plurals, lists that are cut short, one form of names, times."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence, Set
from typing import Any


def counted(count: int, noun: str) -> str:
    """Return a number and its noun, which is given as one: the last word becomes a plural where it has to.

    >>> counted(1, "task"), counted(0, "task"), counted(1797, "test image")
    ('1 task', '0 tasks', '1,797 test images')
    >>> counted(2, "class"), counted(3, "entry"), counted(3, "day"), counted(2, "batch")
    ('2 classes', '3 entries', '3 days', '2 batches')
    """
    if count == 1:
        return f"1 {noun}"
    if re.search("(s|x|ch|sh)$", noun):
        return f"{count:,} {noun}es"
    if re.search("[^aeiou]y$", noun):
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}s"


def shortened(names: Sequence[str], most: int = 5) -> str:
    """Return names with commas between them; of many, the first `most` and how many more there are.

    >>> shortened(["dtd", "mnist"]), shortened(["a", "b", "c", "d"], most=2)
    ('dtd, mnist', 'a, b and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(given: Any) -> list[Any]:
    """Return what was given in place of a list: a text is taken apart at its commas, a list is what it is.

    >>> listed("digits, mnist"), listed(["a,b.yaml"]), listed(7), listed("")
    (['digits', 'mnist'], ['a,b.yaml'], [7], [])
    """
    if isinstance(given, str):
        return split_names(given)
    return list(given) if isinstance(given, Sequence | Set) else [given]


MOST_COMMAS = 20
"""Commas in the name of a file."""


def split_names(text: str) -> list[str]:
    """Return the names in a text, which have commas between them; a path that exists stays whole, commas and all.

    `mnist,my,birds.yaml` is two names where there is a file `my,birds.yaml`.
    """
    parts, names = text.split(","), []
    while parts:
        most = min(len(parts), MOST_COMMAS + 1)
        count = next((number for number in range(most, 1, -1) if _has_path(",".join(parts[:number]))), 1)
        names.append(",".join(parts[:count]).strip())
        parts = parts[count:]
    return [name for name in names if name]


def _has_path(name: str) -> bool:
    """Say whether a name with a comma is the path of something that exists, or has one: `ARCH/TAG@PATH`, `FILE:f`."""
    named = name.partition("?")[0].strip()
    parted = [named.partition(sign) for sign in "@:/"]
    forms = (named, named.rpartition(":")[0], *(path for before, _, path in parted if "," not in before))
    # Path.exists() raises for what no file can be called
    return any("," in form and os.path.exists(os.path.expanduser(form)) for form in forms)  # noqa: PTH110, PTH111


def duration(seconds: float) -> str:
    """Return a time in the two largest units that say something.

    >>> duration(0.4), duration(48.6), duration(125), duration(3 * 3600 + 1), duration(200_000)
    ('0.4 s', '49 s', '2 min 5 s', '3 h 0 min', '2 d 7 h')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, size, part in (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            return f"{whole // size} {large} {whole % size // part} {small}"
    return f"{whole} s"


TRACEBACK = "Traceback (most recent call last)"


def brief(message: str, lines: int = 6, letters: int = 1_000) -> str:
    """Return a message of at most so many lines of so many letters; of a traceback in it, only the last line stays.

    >>> brief("Caught in a worker.\\nOriginal Traceback (most recent call last):\\n  File a\\nValueError: no")
    'Caught in a worker.\\nValueError: no'
    >>> brief("1\\n2\\n3\\n4", lines=3), brief("long " * 5, letters=11)
    ('1\\n2\\n...', 'long lon...')
    """
    found = [line.rstrip() for line in message.splitlines() if line.strip()]
    start = next((number for number, line in enumerate(found) if TRACEBACK in line), None)
    if start is not None:
        found = [*found[:start], found[-1]]
    if len(found) > lines:
        found = [*found[: lines - 1], "..."]
    return "\n".join(line if len(line) <= letters else f"{line[: letters - 3]}..." for line in found)


def composed(name: str) -> str:
    """Return a name with its accents in one form (NFC): archives made on a Mac have them apart, and look the same.

    >>> composed("cafe\u0301") == "caf\u00e9"
    True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line feed, what turns the direction of writing, and halves of characters."""

_PASSWORD = re.compile(r"(?<=://)[^\s/@'\"<>]+@")
_SECRET = re.compile(
    r"(?i)([?&](?:[\w-]*(?:token|secret|signature|password|passwd|credential|api_?key)|sig|key)=)[^&\s'\"<>]+"
)
"""What opens a door in a URL: who one is, before the host, and the parameters of signed addresses."""


def printable(text: str) -> str:
    """Return text that does no more to a terminal or a page than be read: what it would do otherwise is spelled out.

    Passwords in URLs are left out.

    >>> printable("\\x1b[2Jred\\u202egnp.exe"), printable("http://me:mine@example.org/a?token=1f")
    ('\\\\x1b[2Jred\\\\u202egnp.exe', 'http://***@example.org/a?token=***')
    """
    if "://" in text:
        text = _SECRET.sub(r"\1***", _PASSWORD.sub("***@", text))
    return _UNPRINTABLE.sub(lambda found: _spelled(found[0]), text)


def is_unicode(name: str) -> bool:
    r"""Say whether a name is text: Linux takes any bytes for the name of a file, and few formats do.

    >>> is_unicode("caf\u00e9"), is_unicode("caf\udce9")
    (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def on_one_line(text: str) -> str:
    """Return printable text without line breaks and tabs, which would end a row or a cell of a table.

    >>> on_one_line("a\\nb\\tc")
    'a b c'
    """
    return re.sub(r"[\n\t]+", " ", printable(text.replace("\r", "\n")))


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
