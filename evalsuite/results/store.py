"""The result store: one JSON file per job, in one folder per model, written so that no reader sees half a record.

    <root>/<model>-<hash8 of its run key>/<task>.<protocol>[.<hash8 of non-default options>].json

A worse record never replaces a better one: an `error` or `not_applicable` that would do so goes to the sibling
`<...>.error.json`, a `partial` record next to an `ok` one to `<...>.partial.json`. A better record removes the
siblings it makes obsolete. A lock per model folder makes "look, then write" one step for processes that share
the store; readers need no lock, because every file appears in one rename.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalsuite.atomic import check_writable, remove, write_bytes, write_text, write_with
from evalsuite.errors import JobError, UsageError
from evalsuite.locks import HeldError, Lock
from evalsuite.reading import MOST_BYTES
from evalsuite.records import SCHEMA_VERSION, Result, Status, first_problem
from evalsuite.results.consistency import contradiction, disagreements
from evalsuite.results.head_files import HEAD_ENDS, head_paths
from evalsuite.results.record_files import record_files
from evalsuite.seals import BROKEN, KEY, sha256_of, unseal, write_sealed

RANK: dict[Status, int] = {"ok": 2, "partial": 1, "error": 0, "not_applicable": 0}
LOCK_FILE = ".lock"
JOB_LOCKS = ".jobs"
"""Folder of the locks of a model's jobs, in its folder."""

SUFFIXES_OF_FILES = frozenset({".csv", ".html", ".json", ".md", ".parquet", ".txt"})
"""What is not at the end of the name of a folder of results: a file is meant."""

_LOCK_SECONDS = 120.0
_LONGEST_NAME = 80
_MODEL_FOLDER = re.compile(r".+-[0-9a-f]{8}")
_JOB_FILE = re.compile(r"[^.]+(\.[^.]+)+\.json")

DAMAGED = f"{BROKEN}; run it again, or remove that key if you have edited the record yourself"


class UnreadableRecordError(ValueError):
    """A JSON file that is not a result this version can read, or a damaged one; the text says why."""


def hash8(text: str) -> str:
    """Return eight hexadecimal digits that stand for `text` in a file name."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def file_slug(text: str) -> str:
    """Return `text` as a part of a file name that is safe everywhere: lower case, at most 80 characters."""
    slug = re.sub(r"[^a-z0-9_]+", "-", text.casefold()).strip("-_") or "unnamed"
    return slug if len(slug) <= _LONGEST_NAME else f"{slug[: _LONGEST_NAME - 9]}-{hash8(text)}"


def _unambiguous(text: str) -> str:
    """Return a slug that no other text shares: a hash follows where making it safe lost something."""
    slug = file_slug(text)
    return slug if slug == text else f"{slug}-{hash8(text)}"


def read_result(path: Path) -> Result:
    """Read one record; raises OSError, or UnreadableRecordError for what is no result we know, or damaged."""
    if path.stat().st_size > MOST_BYTES:
        raise UnreadableRecordError(f"it is larger than {MOST_BYTES >> 20} MB, which no result is")
    text, fits = unseal(path.read_bytes())
    try:
        result = Result.model_validate_json(text)  # twice as fast as json.loads, and a leaderboard reads thousands
    except ValidationError:
        result = _read_carefully(text)
    _check_schema_version(result.schema_version if "schema_version" in result.model_fields_set else None)
    if not fits:
        raise UnreadableRecordError(DAMAGED)
    if problem := contradiction(result):
        raise UnreadableRecordError(f"it contradicts itself: {problem}; run it again")
    return result


def _read_carefully(text: bytes) -> Result:
    """Read what the quick way could not, or say what is wrong: no JSON, no result, a newer schema, a broken one."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableRecordError(f"it is not JSON ({error})") from error
    _check_schema_version(content.get("schema_version") if isinstance(content, dict) else None)
    try:
        result = Result.model_validate({key: value for key, value in content.items() if key != KEY})
    except ValidationError as error:
        raise UnreadableRecordError(f"it breaks the schema of a result ({first_problem(error)})") from error
    if KEY in content:  # it is not where it was written
        raise UnreadableRecordError(DAMAGED)
    return result


def _check_schema_version(found: Any) -> None:
    if found is None:
        raise UnreadableRecordError("it is not a result of evalsuite")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise UnreadableRecordError(
            f"it has schema {found} and this version reads up to {SCHEMA_VERSION}; upgrade evalsuite"
        )


def record_path(model: str, run_key: str, task: str, protocol: str, options_hash: str | None = None) -> Path:
    """Return the file of a job, below the root of a store. model: its slug."""
    options = f".{file_slug(options_hash)[:8]}" if options_hash else ""
    name = f"{_unambiguous(task)}.{_unambiguous(protocol)}{options}.json"
    return Path(f"{file_slug(model)}-{hash8(run_key)}", name)


def is_of_a_job(path: Path) -> bool:
    """Tell whether a file is named as the record of a job is."""
    named = _MODEL_FOLDER.fullmatch(path.parent.name) and _JOB_FILE.fullmatch(path.name)
    return bool(named) and not path.name.endswith(HEAD_ENDS)


def error_paths(result: Result) -> tuple[Path, ...]:
    """Return where errors of the job of a value are, below the root of a store.

    They are from before its weights were there, or of a failed `overwrite`.
    """
    job = (result.task, result.protocol, result.options_hash)
    unknown, own = (record_path(result.model, key, *job) for key in ("", result.run_key))
    return unknown, _siblings(unknown)[1], _siblings(own)[1]


def misplaced(path: Path, result: Result) -> str:
    """Say that a record in a folder of a store is not of the job that its file is named after; "" where it is."""
    if not is_of_a_job(path):
        return ""
    own = record_path(result.model, result.run_key, result.task, result.protocol, result.options_hash)
    # Before the eight digits stands a name of the model, of which there may be others.
    same_model = path.parent.name[-8:] == own.parent.name[-8:]
    if same_model and path.name in (own.name, *(item.name for item in _siblings(own))):
        return ""
    return (
        f"is the record of {result.model} on {result.task} ({result.protocol}), which belongs into {own}; "
        "if the job that the file is named after was measured, run that again"
    )


def samples_path(record: Path) -> Path:
    """Return where the per-sample table of the record at `record` lies: the same stem next to it."""
    return record.with_name(record.name.removesuffix(".json") + ".samples.parquet")


def log_path(record: Path) -> Path:
    """Return where the traceback behind the error of the record at `record` lies: the same stem next to it."""
    return record.with_name(record.name.removesuffix(".json") + ".log")


def write_samples(path: Path, table: Any) -> None:
    """Write per-sample predictions to `path` (see samples_path) atomically.

    table: a pyarrow Table, a pandas DataFrame, or a dict of column name -> values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = table if isinstance(table, pa.Table) else pa.table(table)
    write_with(path, lambda file: pq.write_table(content, file))


@dataclass(frozen=True)
class StoredResult:
    """A record and the file it was read from; none: it is in memory alone."""

    path: Path | None
    result: Result

    @property
    def samples(self) -> Path | None:
        """Return the table of its per-sample predictions, None where it has none."""
        if self.result.samples is None or self.path is None:
            return None
        path = self.path.with_name(Path(self.result.samples).name)
        return path if path.is_file() else None

    @property
    def has_samples(self) -> bool:
        """Whether that table is there, and is the one that was written."""
        return self.samples is not None and self.result.samples_digest in (None, sha256_of(self.samples))


class ResultStore:
    """A folder of results. Several processes may share it, and none of them needs to know of the others.

    tell: given a sentence about each record that is damaged, once, and about waiting, see `Lock`.
    """

    def __init__(self, root: Path, tell: Callable[[str], None] | None = None) -> None:
        self.root = Path(root)
        self._tell = tell
        self._told: set[str] = set()

    def check_writable(self) -> None:
        """Raise UsageError where results cannot be written, before hours of work."""
        if self.root.suffix in SUFFIXES_OF_FILES and not self.root.exists():
            raise UsageError(
                f"--output {self.root}: it is a folder, with a record for each result. Name a folder, then write one "
                f"file of all: evalsuite export csv --to {self.root.with_suffix('.csv').name}"
            )
        check_writable(self.root, "--output")

    def path(self, model: str, run_key: str, task: str, protocol: str, options_hash: str | None = None) -> Path:
        """Return the file of a job, whether or not it is there. model: its slug."""
        return self.root / record_path(model, run_key, task, protocol, options_hash)

    def job_lock(self, model: str, run_key: str, task: str) -> Lock:
        """Return the lock of whoever works on a model and a task. model: its slug."""
        folder = self.path(model, run_key, task, "").parent / JOB_LOCKS / _unambiguous(task)
        return Lock(folder / LOCK_FILE)

    def write(
        self,
        result: Result,
        run_key: str,
        options_hash: str | None = None,
        samples: Any = None,
        log: str = "",
        head: tuple[bytes, bytes] | None = None,
    ) -> Path:
        """Store `result` and return its file; a worse record goes next to a better one and leaves it alone.

        samples: a table for write_samples, log: the traceback of an error; stored next to the record and named in it.
        head: the contents of the two files of a head, stored next to it.
        Raises JobError when the folder cannot be written, or is locked by another process for two minutes.
        """
        main = self.path(result.model, run_key, result.task, result.protocol, options_hash)
        identity = {"run_key": run_key, "options_hash": options_hash}
        try:
            lock = Lock(main.parent / LOCK_FILE, self._tell)
            lock.acquire(_LOCK_SECONDS)
            try:
                return _write_locked(main, result.model_copy(update=identity), samples, log, head)
            finally:
                lock.release()
        except HeldError as error:
            raise JobError(
                f"The result of {result.model} on {result.task} was not stored after {_LOCK_SECONDS:.0f} s: {error} "
                "End that process and run the same command again."
            ) from error
        except OSError as error:
            raise JobError(f"Cannot store the result {main}: {error.strerror or error}.") from error

    def forget_errors(self, result: Result) -> None:
        """Remove the errors of a job that has a value; where that fails they stay, and the value is no worse for it."""
        for path in error_paths(result):
            with suppress(OSError):
                remove_record(self.root / path)

    def find(
        self,
        model: str,
        run_key: str,
        task: str,
        protocol: str,
        options_hash: str | None = None,
        fingerprint: str | None = None,
    ) -> Result | None:
        """Return the best record of a job, or None: ok before partial before an error.

        fingerprint: if given, a record of another state of the task, options or features does not count.
        A file that cannot be read, or is of another job, counts as absent: the job is done again and replaces it.
        """
        main = self.path(model, run_key, task, protocol, options_hash)
        found = [record for path in (main, *_siblings(main)) if (record := _read_or_none(path, self.say_damaged))]
        matching = [record for record in found if fingerprint in (None, record.fingerprint)]
        return max(matching, key=lambda record: RANK[record.status], default=None)

    def find_value(
        self, model: str, run_key: str, task: str, protocol: str, options_hash: str | None, fingerprint: str
    ) -> Result | None:
        """Return the record of a job that has a value for the very same inputs, or None.

        A partial value counts too: the fingerprint covers the samples, so the same inputs give the same part,
        and inputs that became complete have another fingerprint. Errors and not_applicable are tried again.
        """
        found = self.find(model, run_key, task, protocol, options_hash, fingerprint)
        return found if found is not None and found.status in ("ok", "partial") else None

    def has_samples(self, result: Result) -> bool:
        """Tell whether the table of samples of a stored result is there, and is the one that was written."""
        stored = StoredResult(self.path(result.model, result.run_key, result.task, result.protocol), result)
        sound = stored.has_samples
        if stored.samples is not None and not sound:
            self.say_damaged(f"{stored.samples} is damaged, or of another result")
        return sound

    def say_damaged(self, problem: str) -> None:
        """Tell, once, what is wrong with a file of a job that is therefore done again."""
        if self._tell is not None and problem not in self._told:
            self._told.add(problem)
            self._tell(f"Warning: {problem}. The job is done again.")


def load_stored(paths: Sequence[Path]) -> tuple[list[StoredResult], list[str]]:
    """Read every record under the folders (or files) `paths`; return them and a warning for each file left out.

    Also a warning for a record that lies where that of another job belongs, and for two that contradict each other.

    Temporary files of stopped runs are no part of the store and are passed over in silence. A path that is
    not there is a UsageError.
    """
    stored: list[StoredResult] = []
    warnings: list[str] = []
    for path in record_files(paths):
        try:
            result = read_result(path)
            stored.append(StoredResult(path, result))
            if problem := misplaced(path, result):
                warnings.append(f"{path} {problem}")
        except OSError as error:
            warnings.append(f"{path} was left out: it cannot be read ({error.strerror or error})")
        except UnreadableRecordError as error:
            warnings.append(f"{path} was left out: {error}")
    warnings += disagreements((item.path, item.result) for item in stored)
    return stored, warnings


def _write_locked(main: Path, result: Result, samples: Any, log: str, head: tuple[bytes, bytes] | None) -> Path:
    """Write to `main` or to the sibling that keeps a better record; the caller holds the folder's lock."""
    partial, error = _siblings(main)
    rank = RANK[result.status]
    target = main
    if main.exists() and rank < _rank_of(main):
        target = partial if result.status == "partial" else error
    if samples is not None:
        write_samples(samples_path(target), samples)
        table = samples_path(target)
        result = result.model_copy(update={"samples": table.name, "samples_digest": sha256_of(table)})
    if log and result.error is not None:
        write_text(log_path(target), log)
        named = result.error.model_copy(update={"log": log_path(target).name})
        result = result.model_copy(update={"error": named})
    for file, content in zip(head_paths(target), head or (), strict=False):
        write_bytes(file, content)
    write_sealed(target, result.model_dump(mode="json"))
    for file in () if head else head_paths(target):
        remove(file)
    if result.samples is None:
        remove(samples_path(target))
    if not log:
        remove(log_path(target))
    if rank > RANK["error"]:
        remove_record(error)
    if result.status == "ok":
        remove_record(partial)
    return target


def remove_record(path: Path) -> None:
    """Remove a record, if it is there, and what lies next to it."""
    for file in (path, samples_path(path), log_path(path), *head_paths(path)):
        remove(file)


def _rank_of(path: Path) -> int:
    """Return the rank of the record at `path`; one that cannot be read may be ok, and ranks as that."""
    record = _read_or_none(path)
    return RANK["ok"] if record is None else RANK[record.status]


def _siblings(main: Path) -> tuple[Path, Path]:
    stem = main.name.removesuffix(".json")
    return main.with_name(f"{stem}.partial.json"), main.with_name(f"{stem}.error.json")


def _read_or_none(path: Path, tell: Callable[[str], None] = lambda text: None) -> Result | None:
    """Return the record of the job that `path` is named after. tell: given what is wrong with a file that is there."""
    try:
        result = read_result(path)
    except FileNotFoundError:
        return None
    except (OSError, UnreadableRecordError) as error:
        tell(f"{path}: {error}")
        return None
    if problem := misplaced(path, result):
        tell(f"{path} {problem}")
        return None
    return result
