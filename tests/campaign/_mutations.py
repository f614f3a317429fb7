"""Ways to break a file: in its bytes, and in the values that it holds."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import yaml

TOKENS = (
    b"", b"\0", b"\xff\xfe", b"\n", b"\r", b"\t", b"\x1b[2J", b"{", b"}" * 9, b"[" * 200, b"]", b"- " * 200,
    b"&a [*a]",
    b"*b", b"!!int x", b"!!python/object/apply:os.system [id]", b"<<: ", b": ", b"? ", b"2024-13-45", b"9" * 5000,
    b"1e999", b"-", b"NaN", b"nan", b"inf", b"\"", b"'", b"#", b"%", b"@", b"`", b"\\ud800", b"\xed\xa0\x80",
    b"\xc3\x28",
    b"..", b"/", b"../../etc/passwd", b"{}", b"{{7*7}}", b"=1+1", b"|", b"null", b"true", b"0", b"-1", b"a" * 3000,
)  # fmt: skip
"""What parsers trip over."""

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, 2**63, -(2**63), 10**17, 1e308, -0.5, float("inf"), float("nan"), "",
    " ", "a", "train", "test", "all", "..", "../x", "/etc/passwd", "C:\\x", "~", "{}", "{", "{0.__class__}", "%s",
    "*", "**",
    "**/**/*", "[", "(", "(a+)+$", "((a*)*)*b", "\n", "a\nb", "\x1b[31mred", "=cmd|' /C calc'!A0",
    "<script>1</script>",
    "{{7*7}}", "\\input{x}", "\u202egpj.exe", "\ufb00", "\xe9", "e\u0301", "\U0001f642" * 40, "x" * 3000, "yes",
    "no", "2024-01-01",
    "12:30", "007", "0x10", "1e5", "nan", "http://u:secret@h/x", "file:///etc/passwd", "by_key", "by_index", "rest",
    "classes", "folder", "python", "torchvision", "accuracy", "MNIST", "LSUN", "map_11_point", "red", "green",
)  # fmt: skip
"""Values that a key does not expect."""


def broken_bytes(content: bytes, random: random.Random) -> bytes:
    """Break a file in one to four places."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(_BYTE_FAULTS)(content, random)
    return content


def broken_value(value: Any, random: random.Random) -> Any:
    """Return a copy of nested lists and mappings with one to three faults in it."""
    broken = {"": copy.deepcopy(value)}
    for _ in range(random.choice((1, 1, 2, 3))):
        if not broken:  # an earlier fault took everything
            broken[""] = None
        holder, key = random.choice(_places(broken))
        _break(holder, key, random)
    return broken.get("")


def as_yaml(value: Any, random: random.Random) -> str:
    """Write a value as YAML in one of the ways there are."""
    if random.random() < 0.5:
        return yaml.safe_dump(value, allow_unicode=random.random() < 0.5, default_flow_style=None, sort_keys=False)
    return json.dumps(value, ensure_ascii=random.random() < 0.5)


def strange_value(random: random.Random, depth: int = 0) -> Any:
    """Return a value that nobody expects."""
    kind = random.random()
    if depth > 2 or kind < 0.7:
        return random.choice(SCALARS)
    if kind < 0.85:
        return [strange_value(random, depth + 1) for _ in range(random.choice((0, 1, 2, 5)))]
    return {str(random.choice(SCALARS)): strange_value(random, depth + 1) for _ in range(random.choice((0, 1, 3)))}


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key or index) of each value below."""
    found: list[tuple[Any, Any]] = []
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        found += _places(value[key])
    return found


def _break(holder: Any, key: Any, random: random.Random) -> None:
    kind = random.random()
    if kind < 0.55:
        holder[key] = strange_value(random)
    elif kind < 0.65:
        holder[key] = [holder[key]] * random.choice((1, 2, 50))
    elif kind < 0.75 and isinstance(holder, dict):
        holder[f"{key}{random.choice(('s', '', ' ', chr(0x1B)))}"] = holder.pop(key, None)
    elif kind < 0.85 and isinstance(holder, dict):
        holder[str(random.choice(SCALARS))] = strange_value(random)
    elif isinstance(holder, dict):
        holder.pop(key, None)
    else:
        holder.insert(key, strange_value(random))


def _flip(content: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(content) or 1)
    flipped = bytes([byte ^ 1 << random.randrange(8) for byte in content[place : place + 1]])
    return content[:place] + flipped + content[place + 1 :]


def _insert(content: bytes, random: random.Random) -> bytes:
    place = random.randrange(len(content) + 1)
    return content[:place] + random.choice(TOKENS) + content[place:]


def _replace(content: bytes, random: random.Random) -> bytes:
    start, end = sorted(random.randrange(len(content) + 1) for _ in range(2))
    return content[:start] + random.choice(TOKENS) + content[min(end, start + 64) :]


def _remove(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start + random.choice((1, 2, 8, 64, 512)) :]


def _repeat(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    piece = content[start : start + random.choice((1, 8, 64, 512))]
    return content[:start] + piece * random.choice((2, 3, 100)) + content[start:]


def _cut(content: bytes, random: random.Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _zero(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    end = min(start + random.choice((1, 4, 64, 512)), len(content))
    return content[:start] + bytes(end - start) + content[end:]


def _noise(content: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 4, 64))) + content[start:]


_BYTE_FAULTS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _insert, _replace, _remove, _repeat, _cut, _zero, _noise,
)  # fmt: skip
