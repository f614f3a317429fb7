"""Join feature stores of machines that share no disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evalsuite import atomic
from evalsuite.features.blocks import Block
from evalsuite.features.catalog import ENTRY_FILE, Origin, note_origin, read_origin
from evalsuite.features.descriptions import DIGESTS
from evalsuite.features.store import PoolFeatures
from evalsuite.features.texts import TEXTS
from evalsuite.listing import walk
from evalsuite.text import counted

OF_A_MODEL = ("model.json", "overflow.json")
"""Files next to the pools of a model: whichever comes first is kept."""

SAME = {"fp32": 1e-3, "fp16": 5e-2, "bf16": 5e-2}
"""Norm of the difference of two rows over the norm of one, up to which they are the same features: devices add in
other orders and round. Measured with pocket: other batches change fp32 by 5e-7, bf16 is 1e-2 from fp32, and images of
other digits are 0.16 apart."""

ROWS_AT_A_TIME = 4_096


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
    """What is to be done: pools to extend, files to copy from -> to, and contradictions, in words."""

    pools: list[PoolPlan] = field(default_factory=list)
    files: dict[Path, Path] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)


def plan_features(folders: Sequence[Path], to: Path) -> FeaturePlan:
    """Return what the features under `folders` add to those under `to`; nothing is written.

    A folder of features is the same pool under the same model where its path below its root is the same.
    """
    plan = FeaturePlan()
    sources: dict[Path, list[Path]] = {}
    for root in folders:
        for path in _pools(root):
            sources.setdefault(path.relative_to(root), []).append(path)
        for path in _files(root):
            target = to / path.relative_to(root)
            if not target.exists() and target not in plan.files.values():
                plan.files[path] = target
    for relative, paths in sorted(sources.items()):
        _plan_pool(plan, to / relative, paths)
    return plan


def merge_pool(plan: PoolPlan, tell: Callable[[str], None], on_rows: Callable[[int], None]) -> None:
    """Add the new rows to the target, whose lock this holds; stopped at any moment, the same again does the rest."""
    store = PoolFeatures(plan.target)
    with store.lock(tell):
        note_origin(plan.target, plan.origin)
        for source, ids in plan.new:
            store.reload()
            missing = [identifier for identifier in ids if identifier not in store]
            found = PoolFeatures(source)
            for start in range(0, len(missing), ROWS_AT_A_TIME):
                part = missing[start : start + ROWS_AT_A_TIME]
                layers = {layer: found.read(layer, part).numpy() for layer in found.layers()}
                store.add_shard(Block(part, [found.stamp(identifier) for identifier in part], layers))
                on_rows(len(part))
        store.reload()
        store.compact()


def copy_file(source: Path, target: Path) -> None:
    """Copy a small file as a whole or not at all."""
    atomic.write_bytes(target, source.read_bytes())


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    for folder, subfolders, names in walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(folder), subfolders, sorted(names)


def _pools(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in _walk(root):
        if ENTRY_FILE in names:
            subfolders.clear()
            yield folder


def _files(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in _walk(root):
        if ENTRY_FILE in names:
            subfolders.clear()
        elif folder.name in (TEXTS, DIGESTS):
            yield from (folder / name for name in names if not name.startswith("."))
        else:
            yield from (folder / name for name in names if name in OF_A_MODEL)


def _plan_pool(plan: FeaturePlan, target: Path, sources: Sequence[Path]) -> None:
    there = [target] if (target / ENTRY_FILE).is_file() else []
    origins = {path: read_origin(path) for path in [*there, *sources]}
    origin = next((found for found in origins.values() if found is not None), None)
    if origin is None:
        plan.contradictions.append(f"{sources[0] / ENTRY_FILE} does not say what lies next to it")
        return
    own = PoolPlan(target, origin)
    known: list[PoolFeatures] = []
    for path in [*there, *sources]:
        store = PoolFeatures(path)
        store.leave_out_damaged(store.ids())
        if problem := _contradiction(store, known, origin, origins[path]):
            plan.contradictions.append(problem)
            continue
        if path != target:
            new = [identifier for identifier in store.ids() if not any(identifier in other for other in known)]
            if new:
                own.new.append((path, new))
        known.append(store)
    if own.new or (there and not known[0].is_compact()):  # a merge that was stopped may have left shards
        plan.pools.append(own)


def _contradiction(store: PoolFeatures, known: Sequence[PoolFeatures], origin: Origin, found: Origin | None) -> str:
    """Say why a folder, which is of `found`, cannot be joined with those before it; "" where it can."""
    if found is None:
        return f"{store.folder / ENTRY_FILE} does not say what lies next to it"
    if found != origin:
        return f"{store.folder} is of {found}, not of {origin}"
    if problems := store.unusable():
        return problems[0]
    for other in known:
        shared = [identifier for identifier in store.ids() if identifier in other]
        if not shared:
            continue
        where = f"{store.folder} and {other.folder}"
        if store.layers() != other.layers():
            return f"{where} have features of other dimensions: {store.layers()}, {other.layers()}"
        changed = [name for name in shared if store.stamp(name).sha256 != other.stamp(name).sha256]
        if changed:
            return f"{where} are of other images: {changed[0]}" + _and_more(len(changed))
        for layer in store.layers():
            differing = _differing(store, other, layer, shared, SAME[origin.precision])
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
        far = ~(np.linalg.norm(one - two, axis=1) <= most * np.linalg.norm(one, axis=1))  # NaN is far, too
        found.extend(name for name, differs in zip(part, far, strict=True) if differs)
    return found


def _and_more(count: int) -> str:
    return f" and {counted(count - 1, 'other')}" if count > 1 else ""
