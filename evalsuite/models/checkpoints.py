"""Read checkpoints safely, and say what does not fit.

Nothing here runs code from a checkpoint: pickles are read with `weights_only=True`, TorchScript archives
are refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalsuite.errors import ModelError
from evalsuite.text import shortened


def read_state_dict(path: Path) -> dict[str, Any]:
    """Read a checkpoint without running code from it: name -> tensor.

    Unwraps what training scripts add: `state_dict`, `model`, and the prefixes of DataParallel and
    torch.compile. Raises ModelError for anything that is not plain weights.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    import torch

    if not isinstance(content, Mapping) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError(f"{path}: holds no weights (a mapping of names to tensors was expected).")
    return {str(name).removeprefix("module.").removeprefix("_orig_mod."): value for name, value in content.items()}


def misfit(path: Path, architecture: str, error: RuntimeError) -> ModelError:
    """Return an error that says what does not fit between a checkpoint and an architecture, in few words.

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
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: is no readable safetensors file: {first_line(error)}") from error


def _read_pickle(path: Path) -> object:
    import torch

    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # only the zip format of torch >= 1.6 can be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: needs Python code to load, which is refused because a checkpoint may come from anybody "
            f"({first_line(error)}). If you trust it, save its weights alone on your machine: "
            "torch.save(torch.load(PATH, weights_only=False)['state_dict'], 'weights.pt')."
        ) from error
    except RuntimeError as error:
        raise ModelError(
            f"{path}: is no checkpoint that can be read safely ({first_line(error)}). A TorchScript archive, such as "
            "the files OpenAI published, can be converted: "
            "torch.save(torch.jit.load(PATH, map_location='cpu').state_dict(), 'weights.pt')."
        ) from error
    except (OSError, EOFError, ValueError) as error:
        raise ModelError(f"{path}: is no readable checkpoint: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0]
