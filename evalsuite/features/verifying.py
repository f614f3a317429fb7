"""Look at what is stored next to features: what models are, text embeddings, notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from evalsuite.features.catalog import FEATURES
from evalsuite.features.descriptions import DESCRIPTION, DIGESTS, read_description
from evalsuite.features.texts import TEXTS, DamagedTextsError, read_texts
from evalsuite.listing import matching
from evalsuite.seals import read_named, read_sealed

AGAIN = "it is made again when it is needed"


def verify_model(folder: Path) -> tuple[int, int, list[str]]:
    """Return how many files of text embeddings a model has, how many without a checksum, and what is wrong with it."""
    files, unsealed, problems = list[Path](), 0, list[str]()
    try:
        files = matching(folder / TEXTS, "[!.]*.safetensors")
    except OSError as error:
        problems.append(f"{TEXTS} cannot be looked at ({error})")
    for path in files:
        try:
            unsealed += not read_texts(path)[1]
        except (OSError, DamagedTextsError) as error:
            problems.append(f"{TEXTS}/{path.name} is damaged ({error}); {AGAIN}")
    try:
        read_description(folder)
    except (OSError, ValueError) as error:
        problems.append(f"{DESCRIPTION} is damaged ({error}); {AGAIN}")
    return (
        len(files),
        unsealed,
        [*problems, *_damaged(path for path in folder.glob("[!.]*.json") if path.name != DESCRIPTION)],
    )


def models_of(cache_dir: Path) -> list[Path]:
    """Return the folders of models in a cache."""
    return sorted(path for path in (cache_dir / FEATURES).glob("[!.]*") if path.is_dir())


def damaged_notes(cache_dir: Path) -> Iterator[str]:
    """Say which notes in a cache are damaged: checksums of files, what was downloaded, speeds."""
    yield from _damaged([*cache_dir.glob("[!.]*.json"), *cache_dir.glob("*/[!.]*.json")])


def _damaged(notes: Iterable[Path]) -> Iterator[str]:
    for path in sorted(notes):
        try:
            read_sealed(path, always=True) if path.parent.name == DIGESTS else read_named(path)
        except (OSError, ValueError) as error:
            yield f"{path} is damaged ({error}); {AGAIN}"
