"""Options are declared once: fields of frozen dataclasses.

From a declaration follow the flag of the command line and its help, the key of a configuration file, the keyword in
Python, how a value is checked, and what a record says of it. `RunOptions` is how to run; where data and stores lie
is `evalsuite.data.place.DataPlace`; each protocol brings a dataclass of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from evalsuite import config
from evalsuite.errors import UsageError
from evalsuite.registry import did_you_mean
from evalsuite.text import listed

T = TypeVar("T")
P = ParamSpec("P")

_KEY = "evalsuite"


@dataclass(frozen=True)
class Option:
    """A declared option.

    name: of the field; kind: its type; default: None where there is none or the machine decides; keyword: its name in
    Python and, with dashes, on the command line; flags: further names there ("-o"); bounds: ge, gt, lt -> number;
    auto: None is written `auto`; recorded: it decides numbers, so a record names it where it is not the default.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    bounds: Mapping[str, float] = field(default_factory=dict)
    auto: bool = False
    recorded: bool = False
    name: str = ""
    keyword: str = ""
    kind: Any = None
    default: Any = None

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return "--" + self.keyword.replace("_", "-")

    @property
    def several(self) -> bool:
        """Whether it takes several values: a tuple of one type, repeated or with commas between them."""
        return get_origin(self.kind) is tuple

    def parse(self, value: Any) -> Any:
        """Return a value, or the text of one, as the declared type; UsageError where it is none or out of bounds."""
        from pydantic import Field, TypeAdapter, ValidationError

        bounds: dict[str, Any] = dict(self.bounds)
        kind: Any = Annotated[get_args(self.kind)[0] if self.several else self.kind, Field(**bounds)]
        try:
            if isinstance(value, bool) and self.kind is not bool:  # it would become 1
                raise UsageError(f"{self.flag} {value}: {self._wanted()}.")
            if self.several:
                several = listed(value)
                if self.bounds and not several:
                    raise UsageError(f"{self.flag} is empty: {self._wanted()}.")
                return TypeAdapter(tuple[kind, ...]).validate_python(several)
            return TypeAdapter(kind).validate_python(value)
        except ValidationError:
            shown = ",".join(map(str, listed(value))) if self.several else value
            raise UsageError(f"{self.flag} {shown}: {self._wanted()}.") from None  # its words are for programmers

    def _wanted(self) -> str:
        if self.several and self.bounds:
            return f"give numbers of {self.bounds['ge']:g} or more, with commas between them"
        if get_origin(self.kind) is Literal:
            return f"choose {', '.join(map(str, get_args(self.kind)))}"
        if "ge" in self.bounds:
            return f"give a number of {self.bounds['ge']:g} or more"
        if "gt" in self.bounds:
            return f"give a number between {self.bounds['gt']:g} and {self.bounds['lt']:g}, such as {self.default:g}"
        return f"give a {_IN_WORDS.get(self.kind, 'value')} ({self.help.rstrip('.')})"


_IN_WORDS: Mapping[Any, str] = {str: "text", Path: "path", int: "whole number", bool: "True or False"}


def option(
    default: Any = MISSING,
    *,
    help: str,
    factory: Callable[[], Any] | None = None,
    flags: Sequence[str] = (),
    metavar: str | None = None,
    auto: bool = False,
    recorded: bool = False,
    **bounds: float,
) -> Any:
    """Declare a field of a frozen dataclass as an option; see `Option`.

    default, factory: as of `dataclasses.field`; a factory is called when the options are made.
    """
    metadata = {_KEY: Option(help, tuple(flags), metavar, bounds, auto, recorded)}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def declared(kind: type, prefix: str = "") -> list[Option]:
    """Return the options of a dataclass, in order; a field that `option` does not declare is none.

    prefix: comes first in keywords and flags: with `probe`, `tolerance` is `--probe-tolerance`.
    """
    hints = get_type_hints(kind)
    found = []
    for item in fields(kind):
        if _KEY in item.metadata:
            shown: Option = item.metadata[_KEY]
            given = {
                "name": item.name,
                "keyword": f"{prefix}_{item.name}" if prefix else item.name,
                "kind": hints[item.name],
                "default": None if item.default is MISSING else item.default,
            }
            found.append(Option(**{**vars(shown), **given}))
    return found


def build(kind: Callable[..., T], given: Mapping[str, Any], prefix: str = "", **others: Any) -> T:
    """Return the options `kind` with those keywords of `given` that are theirs; None means the default.

    others: fields that are no options. Raises UsageError for a value that is not of the declared type or out of its
    bounds.
    """
    options = declared(kind, prefix)  # type: ignore[arg-type]
    chosen = {item.name: item.parse(given[item.keyword]) for item in options if given.get(item.keyword) is not None}
    return kind(**chosen, **others)


def recorded(options: object) -> dict[str, Any]:
    """Return the options that decide numbers and are not the default: they tell results of one job apart."""
    return {
        item.name: getattr(options, item.name)
        for item in declared(type(options))
        if item.recorded and getattr(options, item.name) != item.default
    }


def accepts(*options: Option) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Show the keywords of `options` in the signature of a function that takes `**keywords`.

    `help()` and completion show them, and a keyword that nobody knows is a TypeError that offers the nearest.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        own = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        known = {item.name for item in own} | {item.keyword for item in options}

        @functools.wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> T:
            for name in keywords:
                if name not in known:
                    raise TypeError(f"{function.__name__}() has no argument {name!r}.{did_you_mean(name, known)}")
            return function(*arguments, **keywords)

        more = [
            inspect.Parameter(o.keyword, inspect.Parameter.KEYWORD_ONLY, default=o.default, annotation=o.kind)
            for o in options
        ]
        checked.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return checked

    return decorate


DecoderName = Literal["pillow", "torchvision"]
"""What decodes and resizes images."""


CacheMode = Literal["keep", "last", "off"]
"""What stays of the features: all, those of a model's last state, or none."""


@dataclass(frozen=True)
class RunOptions:
    """How to run. command: what the user typed, for the record. cache: see `evalsuite.evaluate`."""

    output: Path = option(
        factory=config.default_output,
        flags=("-o",),
        metavar="DIR",
        help="Folder of the results. [default: $EVALSUITE_HOME/results, else results/runs in a checkout]",
    )
    device: str = option("auto", help="auto (all GPUs, else the CPU), cpu, cuda, cuda:N or cuda:0,cuda:1.")
    precision: Literal["auto", "fp32", "fp16", "bf16"] = option(
        "auto", help="auto: fp32 on CPUs, fp16 on GPUs; bf16 or fp32 where fp16 overflows."
    )
    batch_size: int | None = option(None, auto=True, ge=1, help="Images encoded at a time.")
    compile: bool = option(
        False, recorded=True, help="Compile networks with torch.compile: minutes first, then faster; other last bits."
    )
    workers: int | None = option(None, auto=True, ge=0, help="Processes that decode images.")
    decoder: DecoderName = option(
        "pillow",
        recorded=True,
        help="What decodes and resizes: pillow gives everybody else's numbers; torchvision takes a third of the time, "
        "and some of its pixels are a grey level off.",
    )
    image_size: int | None = option(
        None,
        ge=1,
        metavar="PIXELS",
        recorded=True,
        help="Side of the images that models get, where it is to be another than their own.",
    )
    executor: Literal["local", "ray"] = option(
        "local", help="Where images are encoded: on this machine, or on the Ray cluster at $RAY_ADDRESS."
    )
    layer: str | None = option(
        None,
        metavar="NAME",
        recorded=True,
        help="Layer that protocols without texts read: penultimate, embedding, cls, avgpool, cls+avgpool, or the path "
        "of a module; `evalsuite describe MODEL` lists them. [default: the protocol's own]",
    )
    limit: int | None = option(
        None,
        ge=1,
        metavar="N",
        recorded=True,
        help="At most N samples per split, drawn by class; the results are marked partial.",
    )
    prompts: tuple[str, ...] = option(
        ("default",),
        metavar="default|simple|names|random|FILE",
        help="Prompt templates of zero-shot: the task's, the paper's simple one, bare names, as many of random words, "
        "or those of a file. Several give a result each.",
    )
    seed: int = option(0, recorded=True, help="Seed of hold-outs, limits and bootstraps.")
    overwrite: bool = option(False, help="Compute results again even if they are stored.")
    verify: bool = option(
        False, help="Read all bytes of data and weights again and compare them, whatever sizes and times say."
    )
    download: bool = option(False, help="Fetch data that is not there, as `evalsuite download` does.")
    skip_missing: bool = option(False, help="Leave out tasks whose data is not there; no error.")
    shard: str | None = option(
        None,
        metavar="I/N",
        help="Only the I-th of N parts of the work, of about equal size. [default: the place in a SLURM array, if any]",
    )
    no_wait: bool = option(False, help="Leave out what another process works on; exit code 75.")
    calibrate: bool = option(
        False,
        help="Fit a temperature for every result, also for zero-shot, which needs the images of the validation split.",
    )
    save_head: bool = option(False, help="Keep the fitted linear probe next to its result, for `evalsuite predict`.")
    log_samples: bool = option(False, help="Store every prediction: one parquet file per result.")
    log_to: tuple[str, ...] = option(
        (),
        metavar="wandb|mlflow|tensorboard|trackio[:TARGET]",
        help="Send the numbers to a tracker of experiments; TARGET is its project, experiment or folder.",
    )
    command: str = ""
    cache: CacheMode = "keep"
