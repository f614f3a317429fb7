"""The jobs of one model on one task: what is stored, and a record of each protocol that has no result yet."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalsuite.data.base import Split
from evalsuite.errors import (
    EvalsuiteError,
    JobError,
    NotFiniteError,
    UsageError,
    fault_of_the_system,
    place_of,
    said,
)
from evalsuite.features.catalog import Origin, note_origin
from evalsuite.features.encoding import EncodeRows, MapBatches, first_not_finite
from evalsuite.features.extraction import Member, PassReport, Prepare
from evalsuite.features.freshness import OnBytes, content_digest, content_now, missing_rows, settle
from evalsuite.features.store import PoolFeatures
from evalsuite.locks import HeldError, Lock
from evalsuite.models.base import UNKNOWN_LOGITS, Preprocess
from evalsuite.options import RunOptions
from evalsuite.precision import exact_products
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.base import Outcome, ProtocolInput, Samples, unsuited
from evalsuite.records import ErrorRecord, Result
from evalsuite.results.store import ResultStore, UnreadableRecordError, log_path, read_result
from evalsuite.runner.base import Reporter
from evalsuite.runner.completeness import is_complete
from evalsuite.runner.doubts import cut_prompts, doubts_about
from evalsuite.runner.fingerprints import changed_options, layer_of, options_hash, result_fingerprint
from evalsuite.runner.models import ModelSession
from evalsuite.runner.recording import Measured, base_result, first_head, measured_result, samples_table
from evalsuite.runner.tasks import TaskSession, rows_by_pool
from evalsuite.text import brief, printable


@dataclass
class ModelTaskJob:
    """The jobs of one model on one task.

    held: why it is left alone for now: another process works on it. again: at another precision, see `evaluate`.
    """

    model: ModelSession
    task: TaskSession
    protocols: Sequence[EvaluationProtocol]
    options: RunOptions
    store: ResultStore
    reporter: Reporter
    held: HeldError | None = None
    again: bool = False
    _results: dict[EvaluationProtocol, Result] = field(default_factory=dict)
    _untold: list[tuple[Result, bool]] = field(default_factory=list)
    _lock: Lock | None = None
    _opened: dict[str, PoolFeatures] = field(default_factory=dict)

    @property
    def results(self) -> list[Result]:
        """What there is so far, in the order of the protocols."""
        return [self._results[item] for item in self.protocols if item in self._results]

    def begin(self) -> list[EvaluationProtocol]:
        """Take what is stored and return the protocols that must be run; `finish` ends what this begins.

        Raises HeldError where another process has begun and not finished. What else goes wrong is a result, and
        never stops the run.
        """
        self.held, self.again = None, False
        pending = [item for item in self.protocols if item not in self._results]
        try:
            pending = self._applicable(pending)
            pending = self._without_stored(pending)
            if pending and self._take():
                pending = self._without_stored(pending)  # another process may just have done it
        except HeldError as error:
            self.held = error
            raise
        except Exception as error:  # noqa: BLE001 - one broken job must not take a night's other jobs with it
            self.fail(pending, error)
            return []
        return pending

    def finish(self) -> None:
        """Let others have this job, and forget what only it needed; all that it has not told is told."""
        self.tell()
        self._opened.clear()  # a run has many jobs, and the manifest of a large pool is large
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def tell(self) -> None:
        """Tell the reporter of the results it has not heard of."""
        untold, self._untold = self._untold, []
        for result, stored in untold:
            self.reporter.result(result, stored)

    def _take(self) -> bool:
        """Lock this job against other processes; False where there is nothing to share."""
        known = self.model.claim()
        if not known.reusable:
            return False
        lock = self.store.job_lock(self.model.slug, known.run_key, self.task.task.name)
        lock.acquire(timeout=0)
        self._lock = lock
        return True

    def _applicable(self, protocols: Sequence[EvaluationProtocol]) -> list[EvaluationProtocol]:
        """Return the protocols that have a meaning for this model and task; the others get a record that says why."""
        found = []
        for protocol in protocols:
            reason = unsuited(protocol, self.task.task)
            if reason is None and protocol.needs_text and not self.model.has_text():
                reason = f"The model {self.model.name!r} has no text encoder."
            if reason is None:
                found.append(protocol)
            else:
                error = ErrorRecord(kind="not_applicable", message=reason)
                self._write(self._base(protocol, "not_applicable").model_copy(update={"error": error}), protocol)
        return found

    def _without_stored(self, protocols: Sequence[EvaluationProtocol]) -> list[EvaluationProtocol]:
        pending = []
        for protocol in protocols:
            try:
                self.task.to_encode(protocol)
            except EvalsuiteError as error:
                self.fail([protocol], error)
                continue
            found = None if self.options.overwrite else self.stored(protocol)
            if found is None:
                pending.append(protocol)
            else:
                self.store.forget_errors(found)
                self._keep(found, protocol, stored=True)
        return pending

    def stored(self, protocol: EvaluationProtocol, *, look_only: bool = False) -> Result | None:
        """Return the stored result for the very same inputs, if there is one with a value.

        look_only: nothing is written, not even new keys of files that were touched.
        """
        known = self.model.identify()
        if not known.reusable:
            return None
        key = known.run_key
        task, options = self.task.task.name, options_hash(changed_options(protocol, self.options))
        fingerprint = result_fingerprint(self.task, protocol, known.key(task), self.options)
        stored = (
            self.store.find_value(slug, key, task, protocol.name, options, fingerprint) for slug in self.model.slugs
        )
        found = next((result for result in stored if result is not None), None)
        if found is None:
            return None
        record = self.store.path(found.model, key, task, protocol.name, options)
        if not is_complete(found, self.store, record, protocol, self.task.task, self.options):
            return None
        return found if self._same_bytes(found, protocol, look_only) else None

    def _same_bytes(self, found: Result, protocol: EvaluationProtocol, look_only: bool) -> bool:
        """Tell whether a result for equal ids and sizes is also one for equal bytes.

        The features say of which bytes they are. Where they have been removed from the store, the images are hashed
        and compared with the digest of the record; ids and sizes are never enough.
        """
        left_out = found.data.unreadable if found.data else {}
        digests: list[str] = []
        for name, rows in rows_by_pool(self.task.splits(protocol)).items():
            pool, features = self.task.pool(name), self.features(name)
            on_bytes = self._checking(name)
            missing, touched = missing_rows(pool, rows, features, verify=self.options.verify, on_bytes=on_bytes)
            if any(pool.ids[row] in features for row in missing):
                return False
            if not look_only:
                settle(features, touched)
            digests.append(content_now(pool, rows, features, left_out.get(name, ()), on_bytes))
        return found.data is not None and all(digests) and found.data.content == _joined(digests)

    def _content(self, protocol: EvaluationProtocol) -> str:
        """Return a digest of the bytes of every sample a protocol reads; "" where a pool has no features."""
        digests: list[str] = []
        for name, rows in rows_by_pool(self.task.splits(protocol)).items():
            features, ids = self.features(name), self.task.pool(name).ids
            stored = [ids[row] for row in rows if ids[row] in features]
            if not stored:
                return ""
            digests.append(content_digest(stored, features))
        return _joined(digests)

    def _digests(self, split: Split) -> Iterator[str]:
        """Yield the sha256 of the images of a split, "" where nobody knows it."""
        features, ids = self.features(split.pool), self.task.pool(split.pool).ids
        return (features.stamp(ids[row]).sha256 if ids[row] in features else "" for row in split.rows)

    def features(self, pool: str) -> PoolFeatures:
        """Return the store of a pool's features under the model of these jobs; its manifest is read once."""
        if pool not in self._opened:
            known, layer = self.model.identify(), self.model.further_layer
            self._opened[pool] = known.pool_features(*self.task.stored_as(pool), layer)
        return self._opened[pool]

    def member(self, pool: str) -> Member:
        """Return what an image pass over a pool needs of the model."""
        features = self.features(pool)
        prepare = preparing(self.model, self.task.task.name, features, self.task.stored_as(pool))
        return Member(features, prepare, self._checking(pool))

    def _checking(self, pool: str) -> OnBytes:
        """Return what tells of how many images of a pool the bytes were read again."""
        what = f"bytes of {self.task.task.name}/{pool}"
        return lambda done, total: self.reporter.progress(what, done, total, "images")

    def evaluate(
        self, protocol: EvaluationProtocol, reports: Mapping[str, PassReport] | Exception, ask: Callable[..., Any]
    ) -> None:
        """Run a protocol on what is stored. reports: of the passes it needs. ask: lets the owner of the models work.

        Where the precision is too narrow for the model, it is noted there, and from then on jobs of the model are only
        marked to be done `again`.
        """
        try:
            if self.model.too_narrow is None:
                if isinstance(reports, Exception):
                    raise reports
                self._evaluate(protocol, reports, ask)
        except NotFiniteError as error:
            if self.model.can_fall_back:
                self.model.too_narrow = error
            else:
                message = (
                    f"The model {self.model.name!r} {error} It is not stored. If it overflowed, use --precision fp32; "
                    "at fp32, the model or its preprocessing is at fault."
                )
                self.fail([protocol], EvalsuiteError(message))
        except Exception as error:  # noqa: BLE001 - as in `begin`
            self.fail([protocol], error)
        self.again = self.again or self.model.too_narrow is not None
        self.tell()

    def _evaluate(
        self, protocol: EvaluationProtocol, reports: Mapping[str, PassReport], ask: Callable[..., Any]
    ) -> None:
        load = self.model.take_loading_seconds()
        clock, cut = {"text": 0.0}, list[str]()

        def embed(texts: Sequence[str]) -> Any:
            since = time.perf_counter()
            embedded = ask(lambda: self.model.embed_texts(texts))
            clock["text"] += time.perf_counter() - since
            cut.extend(cut_prompts(texts, embedded.cut))
            return embedded.embedding

        chosen = layer_of(protocol, self.options)

        def read(split: Split, layer: str) -> Samples:
            return self._read(split, chosen if layer == protocol.layer else layer)

        started = time.perf_counter()
        given = ProtocolInput(
            task=protocol.prompted(self.task.task),
            folds=self.task.folds(training=protocol.needs_training),
            read=read,
            embed_texts=embed,
            device=self.model.device,
            logits=self.model.logits() if protocol.needs_text else UNKNOWN_LOGITS,
            seed=self.options.seed,
            validation=self.task.validation(protocol),
            on_progress=lambda what, done, total: self.reporter.progress(what, done, total, "rounds"),
        )
        with exact_products():  # for protocols, too: scores are as exact as the features
            outcome: Outcome = protocol.run(given)
        fit = time.perf_counter() - started - clock["text"]
        limited = self.options.limit is not None
        outcome.warnings += [*cut, *doubts_about(self.task, protocol, outcome, self._digests, limited=limited)]
        content = self._content(protocol)
        images = sum(report.seconds for report in reports.values())
        sizes = [features.layers()[chosen] for features in self._opened.values() if chosen in features.layers()]
        layers = {chosen: sizes[0]} if chosen == self.model.further_layer and sizes else {}
        measured = Measured(outcome, reports, content, images, clock["text"], fit, load, layers)
        status = "partial" if self.options.limit is not None else "ok"
        result = measured_result(self._base(protocol, status), self.task, protocol, self.model, measured, self.options)
        samples = samples_table(self.task.task, outcome) if self.task.logs_samples else None
        head = first_head(result, self.task.task, chosen, outcome) if self.options.save_head else None
        self._write(result, protocol, samples, head=head)

    def _read(self, split: Split, layer: str) -> Samples:
        """Return the features of a split; samples that could not be read are left out."""
        pool = self.task.pool(split.pool)
        features = self.features(split.pool)
        stored = features.layers()
        if stored and layer not in stored:
            raise UsageError(f"--layer {layer}: {self.model.name} has the layers {', '.join(stored)}.")
        rows = [int(row) for row in split.rows if pool.ids[row] in features]
        ids = [pool.ids[row] for row in rows]
        groups = None if pool.groups is None else [pool.groups[row] for row in rows]
        found = features.read(layer, ids)
        row = first_not_finite(found)
        if row is not None:
            raise EvalsuiteError(
                f"The model {self.model.name!r} gave {ids[row]} of {self.task.task.name}/{split.pool} (row {row} of "
                f"{layer}) a value that is not finite (NaN or infinity). Remove the features with `evalsuite cache "
                "rm` and extract them again with --precision fp32 if they overflowed."
            )
        captions = None if pool.captions is None else [pool.captions[row] for row in rows]
        return Samples(found, pool.labels[rows], ids, groups, captions)

    def _base(self, protocol: EvaluationProtocol, status: Any) -> Result:
        return base_result(self.model, self.task.task.name, protocol, status, self.options)

    def fail(self, protocols: Sequence[EvaluationProtocol], error: Exception) -> None:
        """Record what went wrong as the result of these protocols."""
        text = said(error)
        message = printable(brief(text))
        log = printable(text) if brief(text) != text.strip() else ""
        fault = None if isinstance(error, UsageError) else fault_of_the_system(error)
        if fault is not None:
            message, log = printable(brief(fault)), ""
        elif not isinstance(error, EvalsuiteError):  # a bug, of ours or of a model's: its place is what helps
            message = f"{message}\n({place_of(error)})".strip()
            log = printable("".join(traceback.format_exception(error)))
        record = ErrorRecord(kind=type(error).__name__, message=message)
        for protocol in protocols:
            self._write(
                self._base(protocol, "error").model_copy(update={"error": record}), protocol, log=printable(log)
            )

    def _write(
        self,
        result: Result,
        protocol: EvaluationProtocol,
        samples: Any = None,
        log: str = "",
        head: tuple[bytes, bytes] | None = None,
    ) -> None:
        changed = options_hash(changed_options(protocol, self.options))
        key = self._key_if_known()
        result = result.model_copy(update={"run_key": key, "options_hash": changed})
        try:
            path = self.store.write(result, key, changed, samples, log, head)
            written = read_result(path) if samples is not None else result
        except (JobError, MemoryError, OSError, UnreadableRecordError) as error:
            # Others may have a place; this one is told, and is missing in the store.
            self._keep(_not_stored(result, error), protocol, stored=False)
            return
        if result.status in ("ok", "partial") and key:
            self.store.forget_errors(result)
        result = result.model_copy(update={"samples": written.samples, "samples_digest": written.samples_digest})
        if log and result.error is not None:
            named = result.error.model_copy(update={"log": log_path(path).name})
            result = result.model_copy(update={"error": named})
        self._keep(result, protocol, stored=False)
        if log:
            self.reporter.note(f"  all of it: {log_path(path)}")

    def _keep(self, result: Result, protocol: EvaluationProtocol, *, stored: bool) -> None:
        self._results[protocol] = result
        self._untold.append((result, stored))

    def _key_if_known(self) -> str:
        try:
            known = self.model.known()
        except EvalsuiteError:  # the record that is being written says so
            return ""
        return known.run_key if known is not None else ""


def preparing(model: ModelSession, task: str, features: PoolFeatures, stored_as: tuple[str, str, str]) -> Prepare:
    """Return what loads a model when a pass over a pool of a task needs it, and notes what its features are of.

    stored_as: task, pool and fingerprint that the features are stored under.
    """

    def prepare() -> tuple[Preprocess, MapBatches] | EncodeRows:
        loaded, (owner, pool, fingerprint) = model.loaded, stored_as
        note_origin(features.folder, Origin(model.slug, owner, pool, model.precision, fingerprint))
        return loaded.encode_rows(task) or (loaded.model.preprocess, loaded.encode_batches)

    return prepare


def _not_stored(result: Result, error: Exception) -> Result:
    """Return the error that stands for a result which cannot be stored; a value is said."""
    problem = (fault_of_the_system(error) if isinstance(error, MemoryError) else None) or str(error)
    if result.error is not None:
        problem = f"{result.error.message}\n{problem}"
    if result.metric is not None:
        problem = f"{result.metric.name} {100 * result.metric.value:.2f} % was measured and not stored: {problem}"
    record = ErrorRecord(kind=type(error).__name__, message=printable(brief(problem)))
    return result.model_copy(
        update={"status": "error", "error": record, "metric": None, "metrics": {}, "samples": None}
    )


def _joined(digests: Sequence[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
