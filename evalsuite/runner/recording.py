"""Fill in the record of a job."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from evalsuite.features.extraction import PassReport
from evalsuite.options import RunOptions
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.base import FoldScores, Outcome
from evalsuite.protocols.calibrating import Calibration, calibrated
from evalsuite.protocols.scoring import further_metrics, main_metric
from evalsuite.records import DataRecord, ModelInfo, PassPhases, Result, Status, Timings
from evalsuite.results.heads import HeadClass, HeadDescription, head_files
from evalsuite.results.provenance import collect
from evalsuite.results.samples import with_classes
from evalsuite.runner.fingerprints import changed_options, in_json, result_fingerprint
from evalsuite.runner.models import ModelSession
from evalsuite.runner.tasks import TaskSession
from evalsuite.tasks.spec import TaskSpec
from evalsuite.text import counted, printable, shortened

TOP = 5


@dataclass(frozen=True)
class Measured:
    """What a protocol found and how long each phase took, in seconds. layers: chosen by name, with its dimension."""

    outcome: Outcome
    passes: Mapping[str, PassReport]
    content: str
    images: float
    text: float
    fit: float
    load: float
    layers: dict[str, int]


def base_result(
    model: ModelSession, task: str, protocol: EvaluationProtocol, status: Status, options: RunOptions
) -> Result:
    """Return a record that says what was asked for."""
    changed = dict(changed_options(protocol, options))
    return Result(
        status=status,
        model=model.slug,
        model_name=model.name,
        task=task,
        protocol=protocol.name,
        fingerprint="",
        options={**in_json(asdict(protocol.options)), **changed},
        changed_options=changed,
        provenance=collect(model.encoded_on, model.precision, options.seed, options.command, options.decoder),
    )


def measured_result(
    base: Result,
    session: TaskSession,
    protocol: EvaluationProtocol,
    model: ModelSession,
    measured: Measured,
    options: RunOptions,
) -> Result:
    """Return `base` with everything that was measured."""
    outcome = measured.outcome
    # Through JSON, so that a result in memory equals the one read back.
    info = ModelInfo.model_validate(model.info().model_dump(mode="json"))
    info = info.model_copy(update={"layers": info.layers | measured.layers})
    encoded = sum(report.encoded for report in measured.passes.values())
    phases = _phases(measured.passes.values(), model.devices)
    return base.model_copy(
        update={
            "fingerprint": result_fingerprint(session, protocol, model.identify().key(session.task.name), options),
            "metric": main_metric(session.task, outcome.folds, options.seed),
            "metrics": further_metrics(session.task, outcome.folds),
            "details": in_json({**outcome.details, **_calibration(session.task, protocol, outcome)}),
            "warnings": list(map(printable, _warnings(session, protocol, model, measured, info))),
            "data": _data(session, protocol, measured),
            "model_fingerprint": info.fingerprint,
            "model_info": info,
            "timings": Timings(
                load=measured.load,
                images=measured.images,
                text=measured.text,
                fit=measured.fit,
                total=measured.load + measured.images + measured.text + measured.fit,
                images_per_second=encoded / phases.total if phases else None,
                images_encoded=encoded,
                image_pass=phases,
            ),
        }
    )


def _calibration(task: TaskSpec, protocol: EvaluationProtocol, outcome: Outcome) -> dict[str, Calibration]:
    found = calibrated(protocol, task, outcome)
    return {} if found is None else {"calibration": found}


def _warnings(
    session: TaskSession, protocol: EvaluationProtocol, model: ModelSession, measured: Measured, info: ModelInfo
) -> list[str]:
    return [
        *measured.outcome.warnings,
        *_of_the_data(session, measured),
        *info.warnings,
        *(model.text_warnings() if protocol.needs_text else ()),
        *_of_the_model(model, info),
    ]


def _of_the_data(session: TaskSession, measured: Measured) -> list[str]:
    found: list[str] = []
    for name, report in measured.passes.items():
        found += session.pool(name).warnings
        if unread := [item.identifier for item in report.unreadable]:
            found.append(
                f"{counted(len(unread), 'image')} of the pool {name!r} cannot be read and "
                f"{'is' if len(unread) == 1 else 'are'} left out, as `max_unreadable` allows: {shortened(unread, 3)}."
            )
    return found


def _phases(passes: Iterable[PassReport], devices: int) -> PassPhases | None:
    """Add up what image passes took; None where nothing was encoded."""
    made = [report for report in passes if report.encoded]
    if not made:
        return None
    total, computing = math.fsum(report.seconds for report in made), math.fsum(report.computed for report in made)
    return PassPhases(
        total=total,
        decoding=math.fsum(report.decoded for report in made),
        computing=computing,
        writing=math.fsum(report.written for report in made),
        device_busy=computing / (total * devices),
    )


def _of_the_model(model: ModelSession, info: ModelInfo) -> list[str]:
    fallback = [model.fallback] if model.fallback else []
    if not info.not_described:
        return fallback
    return [
        *fallback,
        f"Nothing of this model is reused: its fingerprint cannot cover {', '.join(info.not_described)}. "
        "Features and results are computed anew by every run.",
    ]


def first_head(result: Result, task: TaskSpec, layer: str, outcome: Outcome) -> tuple[bytes, bytes] | None:
    """Return the contents of the files of the head of the first fold, where there is one.

    result: what it gave; layer: what it reads.
    """
    if not outcome.heads or result.model_info is None:
        return None
    head, info = outcome.heads[0], result.model_info
    described = HeadDescription(
        task=task.name,
        protocol=result.protocol,
        classes=[HeadClass(key=item.key, names=item.names) for item in task.class_list],
        multilabel=task.multilabel,
        layer=layer,
        dim=head.weights.shape[1],
        model=info.slug,
        model_name=result.model_name,
        model_fingerprint=info.fingerprint,
        preprocessing=info.preprocessing,
        precision=result.provenance.precision if result.provenance else "",
        folds=len(outcome.folds),
        fingerprint=result.fingerprint,
    )
    return head_files(head, described)


def samples_table(task: TaskSpec, outcome: Outcome) -> pa.Table:
    """Return one row per test sample and fold: id, label, prediction, the five best classes, all scores.

    Labels and predictions are class keys; a multi-label sample has the list of its classes as label, and the list of
    those that do not count for it in `ignored`; where any label of a sample is right, its label is one of them. The
    table names its classes in the order of the scores.
    """
    keys = np.array(task.class_keys)
    frames = []
    for number, fold in enumerate(outcome.folds):
        best = np.argsort(-fold.scores, axis=1, kind="stable")[:, :TOP]
        labels = [keys[row == 1].tolist() for row in fold.labels] if task.multilabel else keys[_one(fold)].tolist()
        ignored = {"ignored": [keys[row < 0].tolist() for row in fold.labels]} if task.multilabel else {}
        frames.append(
            pd.DataFrame(
                {
                    "sample": fold.ids,
                    "fold": number,
                    "label": labels,
                    "prediction": keys[best[:, 0]].tolist(),
                    "top5": [keys[row].tolist() for row in best],
                    "scores": list(fold.scores),
                    **ignored,
                }
            )
        )
    return with_classes(pd.concat(frames, ignore_index=True), task.class_keys)


def _one(fold: FoldScores) -> NDArray[Any]:
    """Return one label of each sample, (n,): where any of several is right, the predicted one, or else the first."""
    labels: NDArray[Any] = fold.labels
    if labels.ndim == 1:
        return labels
    rows, predicted = np.arange(len(labels)), fold.scores.argmax(axis=1)
    one: NDArray[Any] = np.where(labels[rows, predicted] == 1, predicted, labels.argmax(axis=1))
    return one


def _data(session: TaskSession, protocol: EvaluationProtocol, measured: Measured) -> DataRecord:
    passes = measured.passes
    return DataRecord(
        source=session.data.source,
        resolved=json.loads(json.dumps(dict(session.data.resolved))),
        pools={name: session.pool(name).fingerprint for name in passes},
        sizes=measured.outcome.sizes,
        content=measured.content,
        labels=session.labels_digest(protocol),
        unreadable={
            name: [item.identifier for item in report.unreadable]
            for name, report in passes.items()
            if report.unreadable
        },
        split_fidelity=session.data.task.split_fidelity,
        task_file="" if session.task.path is None or session.task.is_shipped else printable(str(session.task.path)),
    )
