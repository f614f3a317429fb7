"""Join feature stores of machines that share no disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evalsuite.errors import EvalsuiteError
from evalsuite.features.blocks import Block
from evalsuite.features.catalog import ENTRY_FILE, Origin, has_features, note_origin, read_origin
from evalsuite.features.descriptions import DESCRIPTION, description_files, read_description
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import TEXTS, DamagedTextsError, read_texts
from evalsuite.listing import walk_links
from evalsuite.text import counted

NOTES = (DESCRIPTION, "overflow.json", "text_test.json")
"""Files next to the pools of a model: the first that is sound is kept."""

SAME = {"fp32": 1e-3, "fp16": 5e-2, "bf16": 5e-2}
"""Norm of the difference of two rows over the norm of one, up to which they are the same features: devices add in
other orders and round. Measured with pocket: other batches change fp32 by 5e-7, bf16 is 1e-2 from fp32, and images of
other digits are 0.16 apart."""

ROWS_AT_A_TIME = 4_096

_MODEL_FOLDER = re.compile(r".+-[0-9a-f]{12}")


@dataclass
class PoolPlan:
    """What one folder of features gets. new: the source and the ids it alone has, for each source with any."""

    target: Path
    origin: Origin
    new: list[tuple[Path, list[str]]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many samples are added."""
        return sum(len(ids) for _, ids in self.new)


@dataclass
class FeaturePlan:
    """What is to be done: pools to extend, and files to copy, to -> from.

    contradictions, unreadable: in words; the second are damaged and left out.
    """

    pools: list[PoolPlan] = field(default_factory=list)
    files: dict[Path, Path] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def plan_features(folders: Sequence[Path], to: Path) -> FeaturePlan:
    """Return what the features under `folders` add to those under `to`; nothing is written.

    A folder of features is the same pool under the same model where its path below its root is the same.
    """
    plan = FeaturePlan()
    sources: dict[Path, list[Path]] = {}
    for root in folders:
        for path in _stored(root, to):
            sources.setdefault(path.relative_to(root), []).append(path)
    for relative, paths in sorted(sources.items()):
        if relative.name == DESCRIPTION:
            _plan_description(plan, to / relative, paths)
        elif relative.parent.name == TEXTS:
            _plan_texts(plan, to / relative, paths)
        elif relative.name in NOTES:
            plan.files |= {} if (to / relative).exists() else {to / relative: paths[0]}
        else:
            _plan_pool(plan, to / relative, paths)
    return plan


def merge_pool(plan: PoolPlan, tell: Callable[[str], None], on_rows: Callable[[int], None]) -> None:
    """Add the new rows to the target, whose lock this holds; stopped at any moment, the same again does the rest."""
    store = PoolFeatures(plan.target)
    with store.lock(tell):
        note_origin(plan.target, plan.origin)
        for source, ids in plan.new:
            store.reload()
            store.leave_out_damaged(store.ids())
            missing = [identifier for identifier in ids if identifier not in store]
            found = PoolFeatures(source)
            if gone := [identifier for identifier in missing if identifier not in found]:
                raise EvalsuiteError(
                    f"{source} was changed meanwhile: {counted(len(gone), 'row')} of it are gone, such as {gone[0]}. "
                    "Type the same command again."
                )
            for start in range(0, len(missing), ROWS_AT_A_TIME):
                part = missing[start : start + ROWS_AT_A_TIME]
                layers = {layer: found.read(layer, part).numpy() for layer in found.layers()}
                store.add_shard(Block(part, [found.stamp(identifier) for identifier in part], layers))
                on_rows(len(part))
        store.reload()
        store.compact()


def _stored(root: Path, to: Path) -> Iterator[Path]:
    """Yield what is stored below a folder, without what is below `to`: folders of pools, texts, notes on models."""
    for folder, subfolders, names in walk_links(root, without=[to]):
        is_of_model = _MODEL_FOLDER.fullmatch(folder.name)
        in_model = _MODEL_FOLDER.fullmatch(folder.parent.name)
        if ENTRY_FILE in names or (in_model and has_features(folder)):
            subfolders.clear()
            yield folder
        elif in_model and folder.name == TEXTS:
            yield from (folder / name for name in names if name.endswith(".safetensors") and not name.startswith("."))
        elif is_of_model:
            yield from (folder / name for name in names if name in NOTES)


def _plan_description(plan: FeaturePlan, target: Path, sources: Sequence[Path]) -> None:
    for path in [*([target] if target.exists() else []), *sources]:
        try:
            read_description(path.parent)
        except ValueError as error:
            plan.unreadable.append(f"{path}: {error}")
            continue
        if path != target:
            pairs = zip(description_files(target.parent), description_files(path.parent), strict=True)
            plan.files |= {copy: file for copy, file in pairs if file.is_file()}
        return


def _plan_texts(plan: FeaturePlan, target: Path, sources: Sequence[Path]) -> None:
    first: tuple[Path, NDArray[Any]] | None = None
    for path in [*([target] if target.exists() else []), *sources]:
        try:
            rows = read_texts(path)[0].embedding.double().numpy()
        except DamagedTextsError as error:
            plan.unreadable.append(f"{path}: {error}")
            continue
        if first is None:
            first = path, rows
        elif first[1].shape != rows.shape or _far(first[1], rows, max(SAME.values())).any():
            plan.contradictions.append(f"{first[0]} and {path} have other features of the same texts")
    if first is not None and first[0] != target:
        plan.files[target] = first[0]


def _plan_pool(plan: FeaturePlan, target: Path, sources: Sequence[Path]) -> None:
    there = [target] if has_features(target) else []
    origins = {path: read_origin(path) for path in [*there, *sources]}
    nameless = [path for path in sources if origins[path] is None]
    plan.unreadable += [f"{path / ENTRY_FILE} does not say what lies next to it" for path in nameless]
    origin = next((found for found in origins.values() if found is not None), None)
    if origin is None:
        return
    own = PoolPlan(target, origin)
    known: list[PoolFeatures] = []
    for path in [*there, *(source for source in sources if source not in nameless)]:
        store = PoolFeatures(path)
        store.leave_out_damaged(store.ids())
        plan.unreadable += store.unusable()
        if problem := _contradiction(store, known, origin, origins[path] or origin):
            plan.contradictions.append(problem)
            continue
        if path != target:
            new = [identifier for identifier in store.ids() if not any(identifier in other for other in known)]
            if new:
                own.new.append((path, new))
        known.append(store)
    if own.new or (there and not known[0].is_compact()):  # a merge that was stopped may have left shards
        plan.pools.append(own)


def _contradiction(store: PoolFeatures, known: Sequence[PoolFeatures], origin: Origin, found: Origin) -> str:
    """Say why a folder, which is of `found`, cannot be joined with those before it; "" where it can."""
    if found != origin:
        return f"{store.folder} is of {found}, not of {origin}"
    for other in known:
        where = f"{store.folder} and {other.folder}"
        if len(store) and len(other) and store.layers() != other.layers():
            return f"{where} have features of other dimensions: {store.layers()}, {other.layers()}"
        shared = [identifier for identifier in store.ids() if identifier in other]
        changed = [name for name in shared if store.stamp(name).sha256 != other.stamp(name).sha256]
        if changed:
            return f"{where} are of other images: {changed[0]}" + _and_more(len(changed))
        for layer in store.layers() if shared else ():
            differing = _differing(store, other, layer, shared, SAME.get(origin.precision, min(SAME.values())))
            if differing:
                return f"{where} have other features ({layer}) of the same image: {differing[0]}" + _and_more(
                    len(differing)
                )
    return ""


def _differing(a: PoolFeatures, b: PoolFeatures, layer: str, ids: Sequence[str], most: float) -> list[str]:
    found: list[str] = []
    for start in range(0, len(ids), ROWS_AT_A_TIME):
        part = ids[start : start + ROWS_AT_A_TIME]
        one, two = a.read(layer, part).double().numpy(), b.read(layer, part).double().numpy()
        found.extend(name for name, differs in zip(part, _far(one, two, most), strict=True) if differs)
    return found


def _far(one: NDArray[Any], two: NDArray[Any], most: float) -> NDArray[Any]:
    """Return (n,): which rows of two matrices (n, dim) are farther apart than this share of their norm, or NaN."""
    far: NDArray[Any] = ~(np.linalg.norm(one - two, axis=1) <= most * np.linalg.norm(one, axis=1))
    return far


def _and_more(count: int) -> str:
    return f" and {counted(count - 1, 'other')}" if count > 1 else ""
