"""Protocols: features in, result out.

A protocol of another package is the class that an entry point of the group `evalsuite.protocols` names. Modules of
protocols import torch inside functions: the command line reads their options for its help.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from evalsuite.errors import UsageError
from evalsuite.options import Option, build, declared
from evalsuite.protocols.base import EvaluationProtocol
from evalsuite.registry import Registry, did_you_mean

PROTOCOLS: Registry[type[EvaluationProtocol]] = Registry("protocol", "evalsuite.protocols")
PROTOCOLS.register("zero_shot", "evalsuite.protocols.zero_shot:ZeroShot")
PROTOCOLS.register("linear_probe", "evalsuite.protocols.linear_probe:LinearProbe")
PROTOCOLS.register("knn", "evalsuite.protocols.knn:KNN")
PROTOCOLS.register("prototype", "evalsuite.protocols.prototype:Prototype")
PROTOCOLS.register("few_shot", "evalsuite.protocols.few_shot:FewShot")
PROTOCOLS.register("retrieval", "evalsuite.protocols.retrieval:Retrieval")
PROTOCOLS.register("bias", "evalsuite.protocols.bias:Bias")

DEFAULT_PROTOCOLS = ("zero_shot", "linear_probe")
"""The two of the paper."""

FURTHER_PROTOCOLS = ("knn", "prototype", "few_shot")
"""What else can be told from the same features; with those of other packages, run when they are named."""

EVERY = "all"
"""Stands for all protocols of this project."""

__all__ = [
    "DEFAULT_PROTOCOLS", "EVERY", "FURTHER_PROTOCOLS", "PROTOCOLS", "EvaluationProtocol", "idle", "make_protocols",
    "options_of",
]  # fmt: skip


def options_of(names: Sequence[str] | None = None) -> Iterator[Option]:
    """Yield the options of the protocols `names`, by default of all that can be imported."""
    for kind in _importable() if names is None else map(PROTOCOLS.get, names):
        yield from declared(kind.Options, kind.prefix)


def idle(keywords: Iterable[str], chosen: Sequence[EvaluationProtocol]) -> Iterator[tuple[str, list[str]]]:
    """Yield each keyword (`knn_k`) that only protocols have which are not chosen, and these protocols."""
    names = {protocol.name for protocol in chosen}
    options = {kind.name: {item.keyword for item in declared(kind.Options, kind.prefix)} for kind in _importable()}
    for keyword in keywords:
        owners = [name for name, own in options.items() if keyword in own]
        if owners and names.isdisjoint(owners):
            yield keyword, owners


def _importable() -> Iterator[type[EvaluationProtocol]]:
    for name in PROTOCOLS.names():
        # A broken package must not take the command line with it: naming its protocol says what is wrong.
        with suppress(UsageError):
            yield PROTOCOLS.get(name)


def make_protocols(
    names: Sequence[str], keywords: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[EvaluationProtocol]:
    """Return the protocols called `names`, each once, with their options; `all` is every one of this project.

    keywords: `probe_tolerance` -> value, among others; settings: `probe.tolerance` (or `linear_probe.tolerance`) ->
    value or its text, which win. Raises UsageError for a protocol, a setting or a value that is none.
    """
    try:
        settings = dict(settings)
    except (TypeError, ValueError):
        raise UsageError(
            f"protocol_options={settings!r}: give a mapping such as {{'probe.tolerance': 1e-8}}."
        ) from None
    spelled = [one for name in names for one in (DEFAULT_PROTOCOLS + FURTHER_PROTOCOLS if name == EVERY else (name,))]
    kinds = [PROTOCOLS.get(str(name)) for name in dict.fromkeys(spelled)]
    known = {
        f"{prefix}.{item.name}": item.keyword
        for kind in kinds
        for item in declared(kind.Options, kind.prefix)
        for prefix in (kind.name, kind.prefix)
    }
    for setting in settings:
        if setting not in known:
            raise UsageError(
                f"--protocol-option {setting}: no protocol of this run ({', '.join(names)}) has this option."
                f"{did_you_mean(setting, known)} Known: {', '.join(known) or 'none'}."
            )
    chosen = {**keywords, **{known[setting]: value for setting, value in settings.items()}}
    return [kind(build(kind.Options, chosen, kind.prefix)) for kind in kinds]
