"""Ways in which a file is damaged: what disks, copies and people do to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

Mutation = Callable[[bytes, Random], bytes]


def bit(content: bytes, random: Random) -> bytes:
    """Flip one bit."""
    place = random.randrange(len(content))
    return _replaced(content, place, bytes([content[place] ^ 1 << random.randrange(8)]))


def some_bytes(content: bytes, random: Random) -> bytes:
    """Write up to eight other bytes."""
    return _replaced(content, random.randrange(len(content)), random.randbytes(random.randint(1, 8)))


def digit(content: bytes, random: Random) -> bytes:
    """Write another digit where one is, as a person who edits a number does."""
    places = [place for place, byte in enumerate(content) if byte in b"0123456789"]
    return _replaced(content, random.choice(places), b"%d" % random.randrange(10)) if places else bit(content, random)


def zeros(content: bytes, random: Random) -> bytes:
    """Write zeros over a stretch, as a file system does that has lost a block."""
    return _replaced(content, random.randrange(len(content)), bytes(random.choice([1, 16, 64, 512, 4096])))


def truncation(content: bytes, random: Random) -> bytes:
    """Cut the file off."""
    return content[: random.randrange(len(content))]


def exchange(content: bytes, random: Random) -> bytes:
    """Exchange two stretches of the same length."""
    length = random.randint(1, max(1, len(content) // 4))
    one, two = sorted(random.randrange(len(content) - length + 1) for _ in range(2))
    two = max(two, one + length)
    first, second = content[one : one + length], content[two : two + length]
    return content[:one] + second + content[one + len(second) : two] + first + content[two + len(second) :]


MUTATIONS: tuple[Mutation, ...] = (bit, some_bytes, digit, zeros, truncation, exchange)


def damage(path: Path, others: Sequence[Path], random: Random) -> str:
    """Damage a file, or swap it with one of the others, or remove it; return what was done, for a person."""
    before = path.read_bytes()
    while True:
        choice = random.choice([*MUTATIONS, *MUTATIONS, "swap", "removal"])
        if choice == "removal":
            path.unlink()
            return f"{path.name} removed"
        if choice == "swap":
            different = [other for other in others if other.read_bytes() != before]
            if different:
                other = random.choice(different)
                path.write_bytes(other.read_bytes())
                other.write_bytes(before)
                return f"{path.parent.name}/{path.name} swapped with {other.parent.name}/{other.name}"
        elif before and not isinstance(choice, str) and (after := choice(before, random)) != before:
            path.write_bytes(after)
            return f"{choice.__name__} in {path.parent.name}/{path.name} ({_place(before, after)})"


def _replaced(content: bytes, place: int, new: bytes) -> bytes:
    new = new[: len(content) - place]
    return content[:place] + new + content[place + len(new) :]


def _place(before: bytes, after: bytes) -> str:
    pairs = enumerate(zip(before, after, strict=False))
    first = next((place for place, (one, other) in pairs if one != other), len(after))
    return f"byte {first} of {len(before)}: {before[first : first + 12]!r} became {after[first : first + 12]!r}"
