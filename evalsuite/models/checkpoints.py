"""Read checkpoints safely, in the forms that training programs write.

Nothing here runs code from a checkpoint: pickles are read with `weights_only=True`, TorchScript archives
are refused.
"""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.models.file_kinds import kind_of
from evalsuite.text import shortened

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher", "target_encoder")
"""Where training programs keep averaged weights, which are those to evaluate: timm and DeiT, DINO, I-JEPA."""

PLAIN = ("state_dict", "model", "module", "model_state_dict", "net", "network", "params", "student", "encoder")
"""Where they keep the others: open_clip and Lightning, MAE and DeiT, DeepSpeed, and hand-written loops."""

FORMERLY_READ = ((), ("state_dict",), ("model",), ("state_dict", "model"))
"""The parts that had no place in a fingerprint before there was a choice."""

WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put into names, anywhere."""

BLOCKED = re.compile(r"(?:GLOBAL|class) ([\w.]+\.\w+)")
"""How torch names what it refuses to make."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file. part: the keys under which they lie in it. others: further keys with weights, not read."""

    path: Path
    state: Mapping[str, Any]
    part: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def mark(self) -> str | None:
        """What the fingerprint needs next to the digest of the file: which part was read, where there is a choice."""
        return None if self.part in FORMERLY_READ else ".".join(self.part)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without running code from it.

    Unwraps what training programs add: the keys of `AVERAGED` (preferred, as timm does) and `PLAIN`, and the
    prefixes of DataParallel, FSDP and torch.compile. Raises ModelError for anything that is not plain weights.
    """
    kind = kind_of(path)
    if kind == "npz":
        raise ModelError(
            f"{path}: is a NumPy archive, which is read for architectures of big_vision in open_clip alone."
        )
    content = _read_safetensors(path) if kind == "safetensors" else _read_pickle(path)
    found = _weights_in(content)
    if found is None:
        held = f"; it holds {shortened([str(key) for key in content], 5)}" if isinstance(content, Mapping) else ""
        raise ModelError(f"{path}: holds no weights (a mapping of names to tensors was expected{held}).")
    part, state = found
    top = content if part and isinstance(content, Mapping) else {}
    others = tuple(key for key in (*AVERAGED, *PLAIN) if key in top and key != part[0] and _weights_in(top[key]))
    return Checkpoint(path, {_unwrapped(str(name)): value for name, value in state.items()}, part, others)


def _weights_in(content: object) -> tuple[tuple[str, ...], Mapping[Any, Any]] | None:
    """Return where in nested mappings the weights are, and the weights."""
    import torch

    if not isinstance(content, Mapping):
        return None
    for key in (*AVERAGED, *PLAIN):
        found = _weights_in(content.get(key))
        if found is not None:
            return (key, *found[0]), found[1]
    return ((), content) if any(isinstance(value, torch.Tensor) for value in content.values()) else None


def _unwrapped(name: str) -> str:
    return WRAPPERS.sub("", name).removeprefix("module.")


def misfit(path: Path, architecture: str, error: RuntimeError) -> ModelError:
    """Return an error that says what does not fit between published weights and an architecture, in few words.

    error: what torch's `load_state_dict` raised; the words looked for are its own.
    """
    text = str(error)
    kinds = (
        ("lacks", _keys_after("Missing key(s) in state_dict", text)),
        ("has the unknown", _keys_after("Unexpected key(s) in state_dict", text)),
        ("has other sizes for", sorted(re.findall(r"size mismatch for (\S+):", text))),
    )
    reasons = "; ".join(f"it {verb} {shortened(keys, 3)}" for verb, keys in kinds if keys)
    if not reasons:
        return ModelError(f"{path}: cannot be loaded into {architecture}: {first_line(error)}")
    return ModelError(f"{path}: does not fit {architecture}: {reasons}. The architecture is probably another one.")


def _keys_after(heading: str, text: str) -> list[str]:
    found = re.search(re.escape(heading) + r": (.*)", text)
    return sorted(re.findall(r'"([^"]+)"', found[1])) if found else []


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise ModelError(
            f"{path}: is no readable safetensors file: {first_line(error)}. Copy or download it again."
        ) from error


def _read_pickle(path: Path) -> object:
    import torch

    try:
        with torch.serialization.safe_globals(_harmless()):
            if path.suffix != ".safetensors":  # recent torch goes by this name, whatever is in the file
                with suppress(RuntimeError):  # only the zip format of torch >= 1.6 can be mapped
                    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        blocked = _blocked(path) or ", ".join(dict.fromkeys(BLOCKED.findall(str(error))))
        if not blocked:
            raise ModelError(f"{path}: is damaged, or no file of torch.save. Copy or download it again.") from error
        raise ModelError(
            f"{path}: needs Python code to load ({blocked}), which is refused because a "
            "checkpoint may come from anybody. If you trust it, save its weights alone on your machine: "
            "torch.save(torch.load(PATH, weights_only=False)['state_dict'], 'weights.pt')."
        ) from error
    except Exception as error:  # torch's unpickler meets bytes that are no program with whatever they lead to
        raise ModelError(
            f"{path}: is damaged or cut short ({first_line(error) or type(error).__name__}). Copy or download it again."
        ) from error


def _harmless() -> list[Any]:
    """Return the classes that training programs leave in checkpoints and that only hold values: arguments, paths."""
    import numpy as np

    numbers = [np.dtype, *{type(np.dtype(letter)) for letter in "?bBhHiIlLqQefd"}, np.float64(0).__reduce__()[0]]
    return [argparse.Namespace, pathlib.PosixPath, *numbers]


def _blocked(path: Path) -> str:
    """Return the classes that a checkpoint asks for and that may not be made."""
    import torch

    try:
        with torch.serialization.safe_globals(_harmless()):
            return shortened(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)), 3)
    except Exception:  # noqa: BLE001 - not the zip format, or damaged: nobody can say
        return ""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0]
