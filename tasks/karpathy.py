"""Images with captions, split as Karpathy and Fei-Fei 2015 do: dataset_flickr30k.json and dataset_coco.json.

A file is {"images": [{"filename": ..., "split": ..., "sentences": [{"raw": ...}, ...]}, ...]}; those of COCO have the
folder of the image in `filepath`. The split `restval` of COCO belongs to train, as is usual.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from evalsuite.data import RawPool, raw_pool_from_files
from evalsuite.errors import DataError, DataMissingError
from evalsuite.reading import parse_json, read_bytes
from evalsuite.tasks.parts import leads_out

SPLITS = {"train": ("train", "restval"), "val": ("val",), "test": ("test",)}
"""Pool -> its words in `split`."""

MOST_BYTES = 1 << 30
"""Bytes of a file of captions; that of COCO has about 150 MB."""


def open_flickr30k(root: Path | None, pool: str) -> RawPool:
    """Open a pool of Flickr30k; an id is the name of a file in flickr30k-images."""
    folder = (root or Path()) / "flickr30k"
    return _opened(folder / "dataset_flickr30k.json", folder / "flickr30k-images", pool)


def open_coco(root: Path | None, pool: str) -> RawPool:
    """Open a pool of COCO; an id is the path of a file: val2014/COCO_val2014_000000391895.jpg."""
    folder = (root or Path()) / "coco_captions"
    return _opened(folder / "dataset_coco.json", folder, pool)


def _opened(file: Path, images: Path, pool: str) -> RawPool:
    if pool not in SPLITS:
        raise DataError(f"The captions have the pools {', '.join(SPLITS)}, not {pool!r}.")
    if not file.is_file():
        raise DataMissingError(f"The captions are missing: {file}.")
    content = parse_json(read_bytes(file, most=MOST_BYTES, error=DataError), file, error=DataError)
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{file} has no list `images`; is it one of the files of caption_datasets.zip?")
    ids, captions = [], []
    for number, entry in enumerate(entries):
        path, split, sentences = _read(entry, f"{file}, image {number}")
        if split in SPLITS[pool]:
            ids.append(path)
            captions.append(sentences)
    if not ids:
        raise DataError(f"{file} has no image of the split {pool!r}.")
    return replace(raw_pool_from_files(images, ids, [0] * len(ids)), captions=captions)


def _read(entry: Any, place: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the path, the split and the captions of an image."""
    try:
        path = "/".join(part for part in (entry.get("filepath", ""), entry["filename"]) if part)
        if leads_out(path):
            raise DataError(f"{place}: the path {path!r} leads out of the folder of the images.")
        return path, str(entry["split"]), tuple(str(sentence["raw"]).strip() for sentence in entry["sentences"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: it needs `filename`, `split` and `sentences` with `raw` ({error!r}).") from error
