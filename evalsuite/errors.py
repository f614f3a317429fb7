"""Errors meant for the person who reads them: what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import os
import pickle
import traceback


class EvalsuiteError(Exception):
    """Any error of ours; its text is complete and needs no traceback."""


class UsageError(EvalsuiteError):
    """A wrong name, option or file that can be known before any work: exit code 2."""


class SpecError(UsageError):
    """A task, prompt or configuration file that breaks its schema."""


class JobError(EvalsuiteError):
    """One job cannot be done; it is recorded and the other jobs are done: exit code 1 at the end."""


class DataMissingError(JobError):
    """The images of a task are not there, or only partly."""


class NotStoredError(DataMissingError):
    """What was fetched cannot be stored: the disk is full, a folder may not be written."""


class DataError(JobError):
    """The images or labels of a task are there and wrong: an unreadable image, an unmapped label."""


class ModelError(JobError):
    """The weights of a model are not available, or do not fit the architecture."""


class NotFiniteError(JobError):
    """A model gave a NaN or an infinity; the text says for what, and begins with "gave"."""


class MissingExtraError(JobError):
    """An optional package is needed: the text names the extra to install."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, extra, purpose)  # so that it can be pickled

    def __str__(self) -> str:
        package, extra, purpose = self.args
        return (
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'evalsuite[{extra}]'"
        )


INTERRUPTIONS = (KeyboardInterrupt, GeneratorExit)
"""What ends a run from outside. All else that somebody's code raises, sys.exit too, is a failure of that code."""


def said(error: BaseException) -> str:
    """Return what an error says; of one that cannot even do that, nothing."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - its own `__str__` fails
        return ""


FULL = {
    os.strerror(number): said
    for number, said in ((errno.ENOSPC, "The disk is full"), (errno.EDQUOT, "Your quota of the disk is used up"))
}
"""What libraries in other languages, too, say of a full disk -> words for it."""

OF_A_PROGRAM = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
"""What a mistake in a program may raise as well as the system."""

NO_MEMORY = (
    "can't allocate memory", "not enough memory", "Cannot allocate memory", "can't start new thread",
    "failed to map segment from shared object",
)  # fmt: skip
"""What torch, Python and the loader of libraries say where there is no memory left."""


def fault_of_the_system(error: BaseException) -> str | None:
    """Return the message for a fault of the machine: a disk, rights, memory; None for any other error."""
    text = said(error)
    for full, words in FULL.items():
        if full in text:
            return f"{words} ({text}). Make room, or use another --cache-dir or --output."
    if isinstance(error, MemoryError) or any(known in text for known in NO_MEMORY):
        return (
            f"The memory does not suffice ({text or 'no more is given'}). Use a smaller --batch-size, fewer --workers, "
            "or a machine with more."
        )
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, OF_A_PROGRAM):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}. Type the same command again when that is fixed."
    return None


def place_of(error: BaseException) -> str:
    """Return where an error was raised, on the machine that it came from: function, file and line."""
    if found := getattr(error, "raised_at", ""):
        return str(found)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.name}, {last.filename}, line {last.lineno}"


def sendable(error: BaseException, place: str) -> Exception:
    """Return an error that another process can unpickle: this one, or its kind and text. Its traceback comes as a note.

    place: the process that it is sent from, in words.
    """
    at = f"{place_of(error)} on {place}"
    note = f"{place}:\n{''.join(traceback.format_exception(error))}"
    in_words = RuntimeError(f"{type(error).__name__}: {said(error)}")
    try:
        found = _marked(error if isinstance(error, Exception) else in_words, at, note)
        pickle.loads(pickle.dumps(found))
    except Exception:  # noqa: BLE001 - whatever somebody's error does
        found = _marked(in_words, at, note)
    return found


def _marked(error: Exception, raised_at: str, note: str) -> Exception:
    error.raised_at = raised_at  # type: ignore[attr-defined]
    error.add_note(note)
    return error
