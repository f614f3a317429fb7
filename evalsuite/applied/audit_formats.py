"""What an audit found, for a terminal, a spreadsheet, a program and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from evalsuite.applied.auditing import Audit, AuditedFold, PartialScores
from evalsuite.applied.duplicates import Images, Pair
from evalsuite.applied.label_errors import Suspect
from evalsuite.columns import Column, as_table
from evalsuite.errors import DataError
from evalsuite.records import MetricRecord
from evalsuite.report.escaping import to_csv_text, to_json_text
from evalsuite.report.html.audit_page import Finding, Section, audit_page, similarity_plot
from evalsuite.report.html.thumbnails import data_uri
from evalsuite.text import counted, on_one_line

LISTED = 10
"""Findings of each kind in the terminal."""

SIDE = 128
"""Longer side of a picture on the page, in pixels."""

COLUMNS = ("kind", "fold", "split", "image", "class", "other_image", "other_class", "similarity", "probability",
           "other_probability")  # fmt: skip


NUMBERS = ("cosine", "%")
"""Headings of columns of numbers."""


def to_csv(found: Audit) -> str:
    """Return a line for each finding."""
    return to_csv_text(COLUMNS, _records(found), raw=False)


def to_json(found: Audit) -> str:
    """Return everything that was found."""
    duplicates = [fold.duplicates for fold in found.folds]
    content = {
        "task": found.task.name,
        "model": found.model,
        "layer": found.layer,
        "threshold": [one.threshold for one in duplicates],
        "threshold_given": found.given,
        "images": [{"test": len(fold.test), "train": len(fold.train)} for fold in found.folds],
        "nearest_similarity": {
            "test_to_train": [_quantiles(one.nearest) for one in duplicates],
            "train_to_train": [_quantiles(one.reference) for one in duplicates],
        },
        "findings": list(_records(found)),
        "judged": None if found.labels is None else found.labels.judged,
        "scores": [_score_record(one) for one in found.scores],
        "notes": list(found.notes),
    }
    return to_json_text(content)


def to_table(found: Audit, width: int | None = None) -> str:
    """Return a summary with the first findings of each kind. width: of the terminal; None: as wide as it gets."""
    parts = [f"{found.task.name}, audited with {found.model} (layer {found.layer})", ""]
    parts += [*summary(found), ""]
    for kind, headers, rows in _lists(found):
        if rows:
            shown = f", the first {LISTED} of {len(rows):,}" if len(rows) > LISTED else ""
            columns = [Column(name, right=name in NUMBERS, wraps=name not in NUMBERS) for name in headers]
            parts += [f"{kind}{shown}:", as_table(columns, rows[:LISTED], width), ""]
    headers, rows = _score_rows(found)
    columns = [Column(name, right=number > 0, wraps=number > 1) for number, name in enumerate(headers)]
    parts += [as_table(columns, rows, width)] if rows else []
    parts += ["", *found.notes] if found.notes else []
    return "\n".join(parts).rstrip() + "\n"


def to_html(found: Audit, most: int) -> str:
    """Return a page with pictures of the first findings of each kind, at most so many."""
    headers, rows = _score_rows(found)
    first = found.folds[0].duplicates
    return audit_page(
        title=f"{found.task.name}, audited with {found.model}",
        facts=[*summary(found), *found.notes],
        scores=(headers, rows),
        plot=similarity_plot(first.nearest, first.reference, first.threshold),
        sections=_sections(found, most),
    )


def summary(found: Audit) -> list[str]:
    """Return what was found, a sentence for each kind."""
    lines = []
    for number, fold in enumerate(found.folds):
        where = f"Fold {number + 1}: " if len(found.folds) > 1 else ""
        kinds = [pair.kind for pair in fold.duplicates.pairs]
        how = "as given" if found.given else "told by the training images"
        lines += [
            f"{where}{_share(kinds.count('exact'), len(fold.test), 'test image')} "
            f"{_are(kinds.count('exact'))} byte for byte among {counted(len(fold.train), 'training image')}.",
            f"{where}{_share(kinds.count('near'), len(fold.test), 'test image')} "
            f"{_are(kinds.count('near'))} nearly so: cosine {fold.duplicates.threshold:.6g} or more ({how}).",
        ]
    if found.labels is not None:
        count = len(found.labels.suspects)
        lines.append(f"{_share(count, found.labels.judged, 'training label')} {_are(count)} likely wrong.")
        if found.labels.left_out:
            left = counted(found.labels.left_out, "training label")
            lines.append(f"{left} cannot be judged: there is no other image of the class to learn it from.")
    return lines


def _share(count: int, total: int, noun: str) -> str:
    return f"{counted(count, noun)} of {total:,} ({100 * count / max(total, 1):.2f} %)"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _suspects(found: Audit) -> tuple[Suspect, ...]:
    return found.labels.suspects if found.labels else ()


def _class_of(found: Audit, images: Images, number: int) -> str:
    """Return the key of the class of an image, or those of its classes."""
    part, row = images.places[number]
    label = part.pool.labels[row]
    if np.ndim(label) == 0:
        return found.task.class_keys[int(label)]
    return " + ".join(found.task.class_keys[column] for column in np.flatnonzero(label == 1))


def _records(found: Audit) -> Iterator[dict[str, Any]]:
    for number, fold in enumerate(found.folds):
        for pair in fold.duplicates.pairs:
            yield dict(
                zip(
                    COLUMNS,
                    (
                        pair.kind, number, "test",
                        fold.test.ids[pair.test], _class_of(found, fold.test, pair.test),
                        fold.train.ids[pair.train], _class_of(found, fold.train, pair.train),
                        pair.similarity, None, None,
                    ),
                    strict=True,
                )
            )  # fmt: skip
    keys = found.task.class_keys
    for one in _suspects(found):
        name, own, other = found.folds[0].train.ids[one.number], keys[one.label], keys[one.other]
        values = ("label", 0, "train", name, own, None, other, None, one.own, one.best)
        yield dict(zip(COLUMNS, values, strict=True))


def _lists(found: Audit) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield the title, the headers and the rows of each kind of findings."""
    records = list(_records(found))
    for kind, title in (("exact", "The same bytes"), ("near", "Nearly the same")):
        rows = [
            [
                f"{record['similarity']:.6f}",
                *(on_one_line(str(record[name])) for name in ("image", "class", "other_image", "other_class")),
            ]
            for record in records
            if record["kind"] == kind
        ]
        yield title, ["cosine", "test image", "class", "training image", "class"], rows
    rows = [
        [
            *(on_one_line(str(record[name])) for name in ("image", "class")), f"{100 * record['probability']:.2f}",
            on_one_line(record["other_class"]), f"{100 * record['other_probability']:.2f}",
        ]
        for record in records
        if record["kind"] == "label"
    ]  # fmt: skip
    yield "Training labels that are likely wrong", ["image", "label", "%", "more likely", "%"], rows


def _score_rows(found: Audit) -> tuple[list[str], list[list[str]]]:
    """Return headers and rows of the scores, in percent; no rows where there is no duplicate."""
    headers = ["protocol", "metric", "all", "clean", "overlap", "all - clean", "p (overlap)"]
    rows = []
    for one in found.scores:
        if one.overlap is None and one.clean is None and not any(fold.duplicates.pairs for fold in found.folds):
            rows.append([one.protocol, one.whole.name, _percent(one.whole), *["the same", "none", "0", ""]])
            continue
        gap = one.difference
        bounds = "" if gap is None else f" [{100 * gap.interval.low:+.2f}, {100 * gap.interval.high:+.2f}]"
        difference = "" if gap is None else f"{100 * gap.value:+.2f}{bounds}"
        p = "" if one.p is None else f"{one.p:.3g}"
        rows.append([one.protocol, one.whole.name, *map(_percent, (one.whole, one.clean, one.overlap)), difference, p])
    return headers, rows


def _percent(metric: MetricRecord | None) -> str:
    if metric is None:
        return "not defined"
    bounds = metric.interval
    shown = "" if bounds is None else f" [{100 * bounds.low:.2f}, {100 * bounds.high:.2f}]"
    return f"{100 * metric.value:.2f}{shown} of {metric.n:,}"


def _score_record(one: PartialScores) -> dict[str, Any]:
    def of(metric: MetricRecord | None) -> Any:
        return None if metric is None else metric.model_dump(mode="json")

    gap = one.difference
    return {
        "protocol": one.protocol,
        "all": of(one.whole),
        "clean": of(one.clean),
        "overlap": of(one.overlap),
        "all_minus_clean": None
        if gap is None
        else {"value": gap.value, "interval": vars(gap.interval), "test": gap.test},
        "p_overlap": one.p,
    }


def _quantiles(values: Any) -> dict[str, float]:
    if not len(values):
        return {}
    shares = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
    return {f"{share:g}": float(value) for share, value in zip(shares, np.quantile(values, shares), strict=True)}


def _sections(found: Audit, most: int) -> list[Section]:
    pairs = [(fold, pair) for fold in found.folds for pair in fold.duplicates.pairs]
    sections = []
    for kind, title in (("exact", "The same bytes"), ("near", "Nearly the same")):
        own = [(fold, pair) for fold, pair in pairs if pair.kind == kind]
        items = [_pair(found, fold, pair) for fold, pair in own[:most]]
        sections.append(Section(f"{title}: test image and training image", len(own), tuple(items)))
    below = [_pair(found, fold, pair) for fold in found.folds for pair in fold.duplicates.below]
    sections.append(Section("Not counted: the nearest below the threshold", len(below), tuple(below[:most])))
    if found.labels is not None:
        listed = [_suspect(found, found.folds[0].train, one) for one in _suspects(found)[:most]]
        sections.append(Section("Training labels that are likely wrong", len(_suspects(found)), tuple(listed)))
    return sections


def _pair(found: Audit, fold: AuditedFold, pair: Pair) -> Finding:
    sides = ((fold.test, pair.test), (fold.train, pair.train))
    names = [f"{images.ids[number]} ({_class_of(found, images, number)})" for images, number in sides]
    return Finding(
        tuple((name, _picture(*side)) for name, side in zip(names, sides, strict=True)), f"cosine {pair.similarity:.6f}"
    )


def _suspect(found: Audit, images: Images, one: Suspect) -> Finding:
    keys = found.task.class_keys
    line = f"{keys[one.label]} {100 * one.own:.2f} %, {keys[one.other]} {100 * one.best:.2f} %"
    return Finding(((images.ids[one.number], _picture(images, one.number)),), line)


def _picture(images: Images, number: int) -> str:
    """Return an image, small, as a data URI; "" for one that cannot be read any more."""
    part, row = images.places[number]
    try:
        return data_uri(part.pool.read(row).image, SIDE)
    except DataError:
        return ""
