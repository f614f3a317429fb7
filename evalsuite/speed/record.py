"""What was measured of a model on a machine, kept in the cache."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

import torch
from pydantic import ValidationError

from evalsuite.options import DecoderName
from evalsuite.processors import processors
from evalsuite.records import Strict
from evalsuite.runner.models import ModelSession
from evalsuite.seals import read_named, write_named

FOLDER = "speed"


class Machine(Strict):
    """Where a model runs. devices: of the kind `device`; processors: that this process may use."""

    name: str
    device: str
    devices: int
    processors: int


class Speed(Strict):
    """What a model does per second on a machine.

    decode: decoder -> photographs of 500 x 375 that one processor makes ready for the model. encode: images per batch
    -> images, on all devices together. copied: images that reach a device, None where it is the CPU itself. texts:
    prompts, None without a text encoder. probe: operations of the probe's passes over the rows, 4 x rows x dimensions x
    classes each. dim: features that the probe reads.
    """

    model: str
    run_key: str
    precision: str
    machine: Machine
    decode: dict[DecoderName, float]
    encode: dict[int, float]
    copied: float | None
    texts: float | None
    probe: float
    dim: int

    def encoded(self, batch_size: int) -> float:
        """Return images per second in batches of a size: of the nearest size that was measured."""
        return self.encode[min(self.encode, key=lambda size: abs(size - batch_size))]


def this_machine(session: ModelSession) -> Machine:
    """Return where the model of a run is."""
    device = session.device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Machine(name=platform.node(), device=kind, devices=session.devices, processors=processors())


def keep(speed: Speed, cache_dir: Path) -> Path:
    """Store what was measured, in place of what was measured before, and return the file."""
    path = _path(cache_dir, speed.run_key, speed.machine)
    write_named(path, speed.model_dump(mode="json"))
    return path


def find(session: ModelSession, cache_dir: Path) -> Speed | None:
    """Return what was measured of a model on this machine.

    None where nothing was, where the model is not known yet, or where the file is damaged, that of another model or
    machine, or of another version.
    """
    known = session.known()
    if known is None:
        return None
    path = _path(cache_dir, known.run_key, this_machine(session))
    try:
        return Speed.model_validate(read_named(path)) if path.is_file() else None
    except (ValueError, ValidationError):
        return None


def _path(cache_dir: Path, run_key: str, machine: Machine) -> Path:
    place = hashlib.sha256(machine.model_dump_json().encode()).hexdigest()
    return cache_dir / FOLDER / f"{run_key[:16]}-{place[:8]}.json"
