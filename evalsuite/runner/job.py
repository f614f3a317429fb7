"""The jobs of one model on one task: one image pass, then every protocol that has no result yet."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalsuite.data.base import Split
from evalsuite.errors import EvalsuiteError
from evalsuite.features.catalog import Origin, note_origin
from evalsuite.features.extraction import PassOptions, PassReport, ensure_features
from evalsuite.protocols import EvaluationProtocol
from evalsuite.protocols.base import Outcome, ProtocolInput, Samples
from evalsuite.records import ErrorRecord, Result
from evalsuite.results.store import ResultStore
from evalsuite.runner.fingerprints import changed_options, options_hash, result_fingerprint
from evalsuite.runner.models import ModelSession
from evalsuite.runner.recording import Measured, base_result, measured_result, samples_table
from evalsuite.runner.settings import Reporter, RunSettings
from evalsuite.runner.tasks import TaskSession, rows_by_pool

BATCH_SIZES = {"cpu": 64, "cuda": 256}
"""Images a batch for `auto`: enough to keep the device busy; on a GPU a batch that does not fit is halved."""


@dataclass
class Jobs:
    """The jobs of one model on one task."""

    model: ModelSession
    task: TaskSession
    protocols: Sequence[EvaluationProtocol]
    settings: RunSettings
    store: ResultStore
    reporter: Reporter
    results: list[Result] = field(default_factory=list)

    def run(self) -> list[Result]:
        """Return a result for each protocol; what goes wrong is a result too, and never stops the run."""
        pending = list(self.protocols)
        try:
            pending = self._without_text_jobs(pending)
            pending = self._without_stored(pending)
            if pending:
                self.reporter.job(self.model.slug, self.task.task.name, [item.name for item in pending])
                self._measure(pending)
        except EvalsuiteError as error:
            self._fail(pending, ErrorRecord(kind=type(error).__name__, message=str(error)))
        except Exception as error:  # noqa: BLE001 - one broken job must not take a night's other jobs with it
            message = f"{error}\n{''.join(traceback.format_exception(error))}"
            self._fail(pending, ErrorRecord(kind=type(error).__name__, message=message.strip()))
        return self.results

    def _without_text_jobs(self, protocols: Sequence[EvaluationProtocol]) -> list[EvaluationProtocol]:
        if not any(protocol.needs_text for protocol in protocols) or self.model.has_text():
            return list(protocols)
        for protocol in protocols:
            if protocol.needs_text:
                reason = f"The model {self.model.name!r} has no text encoder."
                error = ErrorRecord(kind="not_applicable", message=reason)
                self._write(self._base(protocol, "not_applicable").model_copy(update={"error": error}), protocol)
        return [protocol for protocol in protocols if not protocol.needs_text]

    def _without_stored(self, protocols: Sequence[EvaluationProtocol]) -> list[EvaluationProtocol]:
        if not protocols:
            return []
        self.task.open()
        pending = []
        for protocol in protocols:
            found = None if self.settings.overwrite else self.stored(protocol)
            if found is None:
                pending.append(protocol)
            else:
                self.results.append(found)
                self.reporter.result(found, stored=True)
        return pending

    def stored(self, protocol: EvaluationProtocol, *, may_load: bool = True) -> Result | None:
        """Return the stored result for the very same inputs, if there is one with a value."""
        key = self.model.key(may_load=may_load)
        if not key:
            return None
        found = self.store.find(
            self.model.slug,
            key,
            self.task.task.name,
            protocol.name,
            options_hash(changed_options(protocol, self.settings)),
            result_fingerprint(self.task, protocol, key, self.settings),
        )
        has_value = found is not None and found.status in ("ok", "partial")
        lacks_samples = found is not None and self.settings.log_samples and found.samples is None
        return found if has_value and not lacks_samples else None

    def splits(self, protocols: Sequence[EvaluationProtocol]) -> list[Split]:
        """Return every split that these protocols read."""
        return [split for protocol in protocols for split in protocol.splits(self.task.folds)]

    def _measure(self, protocols: Sequence[EvaluationProtocol]) -> None:
        started = time.perf_counter()
        reports = {pool: self._image_pass(pool, rows) for pool, rows in rows_by_pool(self.splits(protocols)).items()}
        seconds = time.perf_counter() - started
        while protocols:
            protocol, *rest = protocols
            try:
                self._evaluate(protocol, reports, seconds)
            except EvalsuiteError as error:
                self._fail([protocol], ErrorRecord(kind=type(error).__name__, message=str(error)))
            protocols = rest

    def _image_pass(self, name: str, rows: Sequence[int]) -> PassReport:
        pool = self.task.pool(name)
        task = self.task.task.name
        features = self.model.pool_features(task, name, pool.fingerprint)
        note_origin(features.folder, Origin(self.model.slug, task, name, self.model.precision, pool.fingerprint))
        what = f"{self.model.slug} {task}/{name}"
        return ensure_features(
            pool,
            rows,
            features,
            self._prepare,
            PassOptions(self.settings.batch_size or BATCH_SIZES[self.model.device.type], self.settings.workers),
            max_unreadable=self.task.task.max_unreadable,
            on_images=lambda done, total: self.reporter.progress(what, done, total, "images"),
        )

    def _prepare(self) -> Any:
        model, mapping = self.model.ready()
        return model.preprocess, mapping

    def _evaluate(self, protocol: EvaluationProtocol, reports: dict[str, PassReport], seconds: float) -> None:
        clock = {"text": 0.0}

        def embed(texts: Sequence[str]) -> Any:
            since = time.perf_counter()
            embedded = self.model.embed_texts(texts)
            clock["text"] += time.perf_counter() - since
            return embedded

        started = time.perf_counter()
        outcome: Outcome = protocol.run(
            ProtocolInput(
                task=self.task.task,
                folds=self.task.folds,
                read=self._read,
                embed_texts=embed,
                device=self.model.device,
                seed=self.settings.seed,
                on_progress=lambda what, done, total: self.reporter.progress(what, done, total, "rounds"),
            )
        )
        fit = time.perf_counter() - started - clock["text"]
        measured = Measured(outcome, reports, seconds, clock["text"], fit, self.model.take_loading_seconds())
        status = "partial" if self.settings.limit is not None else "ok"
        result = measured_result(self._base(protocol, status), self.task, protocol, self.model, measured, self.settings)
        self._write(result, protocol, samples_table(self.task.task, outcome) if self.settings.log_samples else None)

    def _read(self, split: Split, layer: str) -> Samples:
        """Return the features of a split; samples that could not be read are left out."""
        pool = self.task.pool(split.pool)
        features = self.model.pool_features(self.task.task.name, split.pool, pool.fingerprint)
        rows = [int(row) for row in split.rows if pool.ids[row] in features]
        ids = [pool.ids[row] for row in rows]
        groups = None if pool.groups is None else [pool.groups[row] for row in rows]
        return Samples(features.read(layer, ids), pool.labels[rows], ids, groups)

    def _base(self, protocol: EvaluationProtocol, status: Any) -> Result:
        return base_result(self.model, self.task.task.name, protocol, status, self.settings)

    def _fail(self, protocols: Sequence[EvaluationProtocol], error: ErrorRecord) -> None:
        for protocol in protocols:
            self._write(self._base(protocol, "error").model_copy(update={"error": error}), protocol)

    def _write(self, result: Result, protocol: EvaluationProtocol, samples: Any = None) -> None:
        changed = options_hash(changed_options(protocol, self.settings))
        key = self._key_if_known()
        path = self.store.write(result, key, changed, samples)
        if result.status in ("ok", "partial") and key:
            # A failure from before the weights were there lies under the unknown fingerprint.
            self.store.path(result.model, "", result.task, result.protocol, changed).unlink(missing_ok=True)
        if samples is not None:
            result = result.model_copy(update={"samples": path.name.removesuffix(".json") + ".samples.parquet"})
        self.results.append(result)
        self.reporter.result(result, stored=False)

    def _key_if_known(self) -> str:
        try:
            return self.model.key(may_load=False)
        except EvalsuiteError:  # the record that is being written says so
            return ""
