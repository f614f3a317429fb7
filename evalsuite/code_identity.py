"""A digest of live Python objects: what a preprocessing or a network does, whatever it is made of.

Two objects have the same digest only if the same code would run on the same values: code objects with their constants
and nested code, defaults, closures, the globals that are read, attributes, tensors by their bytes. Code of installed
packages is described by its name and the package's version; everything else is the user's own and is followed. What
cannot be described is named, so that whoever asks knows that the digest does not cover it.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import importlib
import importlib.util
import re
import struct
import sys
import sysconfig
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import packages_distributions, version
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import nn

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, type(...), range})
"""Types whose `repr` says all."""

NAMED = (torch.dtype, torch.device, torch.layout, torch.memory_format, np.dtype, np.generic, PurePath)
"""Types of libraries whose `str` says all."""

BUILTIN = (
    types.BuiltinFunctionType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
)
"""Functions and attributes of types that are written in C: their name says all."""

VOLATILE = frozenset(
    {"training", "__weakref__", "__dict__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__"}
    | {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__orig_bases__"}
    | {"__parameters__", "__type_params__", "__abstractmethods__", "_abc_impl"}
    | {"_compiled_call_impl", "_is_torch_compile", "_compile_kwargs"}
)
"""Attributes that change no feature: evaluation has a mode of its own, documentation and types do not run, and what
torch.compile (also where Lightning is imported) leaves in a module is another way to compute the same."""

COMPILED_PATTERN = ("_regex", "Pattern")
"""A pattern of the package `regex` (tokenizers have one): what it is compiled to differs from process to process."""

_CACHE = re.compile(r"_*(cache|\w+_cache)_*", re.IGNORECASE)
"""Names of dictionaries that objects fill while they work (the tokenizers of open_clip and transformers)."""


@dataclass(frozen=True)
class Identity:
    """What `identify` returns. unknown: what the digest does not cover, in words; empty where it covers everything."""

    digest: str
    unknown: tuple[str, ...] = ()


def identify(thing: object, *, without: Iterable[str] = ()) -> Identity:
    """Return the digest of an object and what of it cannot be described.

    without: attributes of networks to leave out, because the caller covers them ("_parameters").
    """
    walk = _Walk(frozenset(without))
    try:
        digest = walk.digest(thing)
    except RecursionError:
        return Identity("", (f"{type(thing).__qualname__}, which is nested too deeply",))
    return Identity(digest, tuple(dict.fromkeys(walk.unknown)))


@dataclass
class _Walk:
    """One walk over an object; objects that were met before are told by their number, so cycles end."""

    without: frozenset[str]
    unknown: list[str] = field(default_factory=list)
    _met: dict[int, int] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)
    _ways: dict[type, Callable[[Any], str]] = field(default_factory=dict)

    def digest(self, thing: object) -> str:
        """Return the digest of a thing of any kind."""
        if _is_plain(thing):
            return _hash(type(thing).__name__, repr(thing))
        if isinstance(thing, NAMED):
            return _hash(type(thing).__name__, str(thing))
        if id(thing) in self._met:
            return _hash("met", str(self._met[id(thing)]))
        self._met[id(thing)] = len(self._met)
        self._kept.append(thing)  # an id is of one object only as long as that lives
        kind = type(thing)
        if kind not in self._ways:
            found = (describe for kinds, describe in self._kinds() if isinstance(thing, kinds))
            self._ways[kind] = next(found, self._instance)
        return self._ways[kind](thing)

    def _kinds(self) -> Iterator[tuple[Any, Callable[[Any], str]]]:
        """Yield types and how they are described, the special ones first."""
        yield Enum, lambda item: _hash("enum", self.digest(type(item)), item.name)
        yield torch.Tensor, self._tensor
        yield np.ndarray, self._array
        yield (list, tuple, torch.Size), lambda items: _hash(type(items).__name__, *map(self.digest, items))
        yield (set, frozenset), lambda items: _hash(type(items).__name__, *sorted(map(self.digest, items)))
        yield (dict, types.MappingProxyType), self._mapping
        yield types.CodeType, self._code
        yield types.FunctionType, self._function
        yield (
            types.MethodType,
            lambda method: _hash("method", self.digest(method.__func__), self.digest(method.__self__)),
        )
        yield (
            functools.partial,
            lambda part: _hash("partial", self.digest(part.func), self.digest(part.args), self.digest(part.keywords)),
        )
        yield (staticmethod, classmethod), lambda item: _hash(type(item).__name__, self.digest(item.__func__))
        yield property, lambda item: _hash("property", *map(self.digest, (item.fget, item.fset)))
        yield weakref.ReferenceType, lambda reference: _hash("weak", self.digest(reference()))
        yield types.ModuleType, lambda module: self._module(module, ())
        yield type, self._class
        yield BUILTIN, self._builtin
        yield nn.Module, self._network

    # --- values

    def _tensor(self, tensor: torch.Tensor) -> str:
        try:
            values = tensor.detach().cpu().contiguous()
            content = hashlib.sha256(values.reshape(-1).view(torch.uint8).numpy().data) if values.numel() else None
        except (RuntimeError, NotImplementedError):  # sparse, quantised, meta: bytes that numpy cannot see
            return self._cannot(f"a tensor of the layout {tensor.layout} on {tensor.device}")
        return _hash("tensor", str(values.dtype), str(tuple(values.shape)), content.hexdigest() if content else "")

    def _array(self, array: np.ndarray[Any, Any]) -> str:
        if array.dtype.hasobject:
            return _hash("objects", str(array.shape), *map(self.digest, array.reshape(-1).tolist()))
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return _hash("array", str(array.dtype), str(array.shape), content)

    def _mapping(self, mapping: Mapping[Any, Any]) -> str:
        if all(_is_plain(key) and _is_plain(value) for key, value in mapping.items()):  # a vocabulary has 50,000
            return _hash("plain mapping", *sorted(f"{key!r}: {value!r}" for key, value in mapping.items()))
        return _hash("mapping", *sorted(self.digest(key) + self.digest(value) for key, value in mapping.items()))

    # --- code

    def _code(self, code: types.CodeType) -> str:
        shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        constants = code.co_consts
        if constants and isinstance(constants[0], str) and constants[0] not in _loaded_constants(code):
            constants = constants[1:]  # a docstring does not run
        tables = (code.co_code.hex(), code.co_exceptiontable.hex())
        return _hash("code", repr(shape), repr(names), *tables, *map(self.digest, constants))

    def _function(self, function: types.FunctionType) -> str:
        if library := _library_of(function.__module__):
            return _hash("library", library, function.__module__, function.__qualname__)
        captured = [_content(cell) for cell in function.__closure__ or ()]
        read = sorted(_globals_of(function.__code__))
        names = set(_names_of(function.__code__))
        found = [
            _hash(name, self._global(function.__globals__[name], names))
            for name in read
            if name in function.__globals__
        ]
        imported = [self._module(module, names) for module in _imports_of(function.__code__, function.__globals__)]
        return _hash(
            "function",
            self.digest(function.__code__),
            self.digest(function.__defaults__),
            self.digest(function.__kwdefaults__),
            self.digest(captured),
            *found,
            *imported,
        )

    def _global(self, value: object, names: set[str]) -> str:
        """Describe a global; of a module, what may be read of it: every attribute that the code names."""
        return self._module(value, names) if isinstance(value, types.ModuleType) else self.digest(value)

    def _module(self, module: types.ModuleType, names: Iterable[str]) -> str:
        if library := _library_of(module.__name__):
            return _hash("library", library, module.__name__)
        read = [name for name in sorted(names) if name in vars(module)]
        return _hash("module", *(_hash(name, self._global(vars(module)[name], set(names))) for name in read))

    def _class(self, kind: type) -> str:
        if library := _library_of(kind.__module__):
            return _hash("library", library, kind.__module__, kind.__qualname__)
        own = {name: value for name, value in vars(kind).items() if name not in VOLATILE and not _is_slot(value)}
        parts = [_hash(name, self.digest(value)) for name, value in sorted(own.items())]
        return _hash("class", kind.__qualname__, *map(self.digest, kind.__bases__), *parts)

    def _builtin(self, function: Any) -> str:
        owner = getattr(function, "__self__", None)
        home = getattr(function, "__module__", None) or getattr(function, "__objclass__", object).__module__
        name = f"{home}.{function.__qualname__}"
        if owner is None or isinstance(owner, types.ModuleType | type):
            return _hash("builtin", name)
        return _hash("builtin method", name, self.digest(owner))

    # --- objects

    def _network(self, module: nn.Module) -> str:
        own: dict[str, object] = {
            # Hooks are kept under numbers that count all hooks of the process.
            name: list(value.values()) if "hooks" in name and isinstance(value, dict) else value
            for name, value in vars(module).items()
            if name not in self.without
        }
        return _hash("network", self.digest(type(module)), self._attributes(own))

    def _instance(self, thing: object) -> str:
        kind = type(thing)
        if hasattr(thing, "__wrapped__") and callable(thing):  # functools.lru_cache and its like
            return _hash("wrapper", kind.__name__, self.digest(thing.__wrapped__))
        if (kind.__module__, kind.__name__) == COMPILED_PATTERN:
            return _hash("pattern", *map(self.digest, (thing.pattern, thing.flags)))  # type: ignore[attr-defined]
        values = _values_of(thing)
        if values is not None:
            return _hash("object", self.digest(kind), self._attributes(values))
        try:
            registered = copyreg.dispatch_table.get(kind)
            reduced: Any = registered(thing) if registered else thing.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - whatever its author raises, it means that nobody can say what it is
            return self._cannot(f"an object of the type {kind.__module__}.{kind.__qualname__}")
        parts = [reduced] if isinstance(reduced, str) else [self._reduced(part) for part in reduced]
        return _hash("reduced", self.digest(kind), *map(str, parts))

    def _cannot(self, what: str) -> str:
        self.unknown.append(what)
        return _hash("unknown", what)

    def _reduced(self, part: object) -> str:
        return self.digest(list(part) if isinstance(part, Iterator) else part)

    def _attributes(self, values: Mapping[str, object]) -> str:
        kept = {
            name: value
            for name, value in values.items()
            if name not in VOLATILE and not (_CACHE.fullmatch(name) and isinstance(value, dict))
        }
        return _hash("attributes", *(_hash(name, self.digest(value)) for name, value in sorted(kept.items())))


def _hash(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _is_plain(thing: object) -> bool:
    """Whether `repr` says all of a thing."""
    kind = type(thing)
    return kind in PLAIN or ((kind is tuple or kind is list) and all(map(_is_plain, thing)))  # type: ignore[call-overload]


def _values_of(thing: object) -> dict[str, object] | None:
    """Return the attributes of an object that is nothing but its attributes; None for any other."""
    kind = type(thing)
    own = [vars(base) for base in kind.__mro__[:-1]]
    if any(name in base for base in own for name in ("__reduce__", "__reduce_ex__", "__getstate__")):
        return None
    slots = [name for base in own for name in _listed(base.get("__slots__", ()))]
    # A pointer for each slot, and two for attributes and weak references: an object that is larger lives in C, in part.
    pointers = len(slots) + (2 if hasattr(thing, "__dict__") else 0)
    if kind.__basicsize__ > object.__basicsize__ + pointers * struct.calcsize("P"):
        return None
    values = {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
    return {**values, **getattr(thing, "__dict__", {})}


def _listed(slots: str | Iterable[str]) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _is_slot(value: object) -> bool:
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes_in(constant)


def _names_of(code: types.CodeType) -> Iterator[str]:
    """Yield every name that the code or code nested in it uses: globals and attributes."""
    for item in _codes_in(code):
        yield from item.co_names


def _globals_of(code: types.CodeType) -> set[str]:
    reads = ("LOAD_GLOBAL", "LOAD_NAME")
    return {step.argval for item in _codes_in(code) for step in dis.get_instructions(item) if step.opname in reads}


def _imports_of(code: types.CodeType, scope: Mapping[str, Any]) -> Iterator[types.ModuleType]:
    """Yield the user's own modules that the code imports when it runs."""
    package = scope.get("__package__") or ""
    for item in _codes_in(code):
        for step in dis.get_instructions(item):
            if step.opname == "IMPORT_NAME" and not _library_of(step.argval):
                try:
                    yield importlib.import_module(step.argval)
                except ImportError:  # guarded by `try` in the code, or relative to `package`
                    if package and (module := sys.modules.get(f"{package}.{step.argval}")):
                        yield module


def _loaded_constants(code: types.CodeType) -> set[str]:
    loads = (
        step.argval for step in dis.get_instructions(code) if step.opname.startswith(("LOAD_CONST", "RETURN_CONST"))
    )
    return {value for value in loads if isinstance(value, str)}


@functools.cache
def _library_of(module: str | None) -> str:
    """Return "package version" for a module of an installed package or of Python; "" for the user's own."""
    top = (module or "").partition(".")[0]
    if not top or top == "__main__":
        return ""
    if top in sys.stdlib_module_names:
        return "python"
    loaded = sys.modules.get(module or "") or sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    if file is None:
        spec = importlib.util.find_spec(top) if top not in sys.modules else None
        file = spec.origin if spec else None
    if file is None or not is_installed(Path(file)):
        return "evalsuite" if top == "evalsuite" else ""
    packages = _distributions().get(top, [])
    return " ".join([top, *(version(name) for name in packages[:1])])


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib"))


def is_installed(file: Path) -> bool:
    """Say whether a file belongs to an installed package, or to Python."""
    return any(file.resolve().is_relative_to(root) for root in _installed())
