"""Errors meant for the person who reads them: what is wrong, where, and what to do about it."""

from __future__ import annotations


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
