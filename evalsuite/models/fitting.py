"""Put the weights of a checkpoint into a network: nothing is stretched, cut or left random without a word.

The names in a checkpoint may have a prefix (`encoder_q.`, `teacher.backbone.`, `model.`): the one under which most
names of the network are found is taken off. What the network has and the file lacks, and what the file has and a
network of this kind could have, is an error. What belongs to no part of the network (the head of another task, a mask
token) is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from evalsuite.errors import ModelError
from evalsuite.models.checkpoints import Checkpoint
from evalsuite.text import counted, shortened

PREFERRED = ("teacher", "target", "encoder_q", "base_encoder", "online")
"""Of several sets of weights that fit equally, the one to evaluate: of DINO, I-JEPA, MoCo, MoCo v3, BYOL."""

CONSTANTS = frozenset(
    {"position_ids", "relative_position_index", "attn_mask", "num_batches_tracked"}
    | {"input_resolution", "context_length", "vocab_size"}
)
"""Last parts of names that carry no weights: what follows from the architecture."""

TOWERS = ("", "visual", "text", "visual.trunk")
"""Parts of a network that a checkpoint may have more in than the network has: all others are stacks of blocks."""

SHOWN = 3

Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Weights under the names of some release -> under those of the network."""


@dataclass(frozen=True)
class Fit:
    """What was done to make the weights of a checkpoint fit. left_out, filled: names, for a person."""

    prefix: str = ""
    left_out: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()

    def said(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Return what a person should know of how the file was read; nothing where it was plain."""
        name, found = checkpoint.path.name, []
        if checkpoint.others:
            found.append(
                f"{name}: the weights under {checkpoint.part[0]} were read, not {shortened(checkpoint.others)}."
            )
        if self.left_out:
            found.append(f"{name}: left out, because the network has no such part: {shortened(self.left_out)}.")
        if self.filled:
            found.append(f"{name}: {shortened(self.filled)} not taken from the file; no feature depends on it.")
        return tuple(found)

    def details(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return what is recorded of how the file was read; nothing where it was plain."""
        how = {
            "part": ".".join(checkpoint.part),
            "prefix": self.prefix,
            "left_out": self.left_out,
            "filled": self.filled,
        }
        told = {name: value if isinstance(value, str) else list(value) for name, value in how.items() if value}
        return {"checkpoint": told} if told else {}


def fit(
    module: nn.Module,
    checkpoint: Checkpoint,
    architecture: str,
    *,
    convert: Convert,
    optional: tuple[str, ...] = (),
) -> Fit:
    """Load the weights of a checkpoint into `module`; ModelError says what does not fit, with both shapes.

    convert: turns names and layouts of another release into those of the module. optional: beginnings of names that
    nobody reads (a classifier): where they are lacking or of another size, they keep the values of a fresh network.
    """
    state = {name: value for name, value in checkpoint.state.items() if isinstance(value, Tensor)}
    wanted = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    prefix = _best_prefix(state, wanted, checkpoint)
    outside = [name for name in state if not name.startswith(prefix)]
    given = convert({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
    unknown = [name for name in given if name not in wanted and not _is_constant(name)]
    unread = [name for name in wanted if optional and name.startswith(optional)]
    _check(
        module,
        given,
        wanted,
        unread,
        [name for name in unknown if not optional or not name.startswith(optional)],
        f"{checkpoint.path}: does not fit {architecture}",
    )
    fitting = {name: given[name] for name in wanted if name in given and given[name].shape == wanted[name].shape}
    # What is loaded has the form of this network, whatever it had in the file: some ask for the version of the form.
    whole: Any = module.state_dict()
    whole.clear()
    whole.update(fitting)
    module.load_state_dict(whole, strict=False)
    return Fit(prefix, _parts([*outside, *unknown]), _parts(name for name in unread if name not in fitting))


def _check(
    module: nn.Module,
    given: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    unread: Collection[str],
    unknown: Collection[str],
    what: str,
) -> None:
    read = [name for name in wanted if name not in unread]
    missing = sorted(name for name in read if name not in given and not _is_constant(name))
    other = sorted(name for name in read if name in given and given[name].shape != wanted[name].shape)
    foreign = sorted(name for name in unknown if missing or other or _could_hold(module, name))
    sizes = [_sizes(name, given[name], wanted[name]) for name in other]
    kinds = (("lacks", missing), ("has the unknown", foreign), ("has other sizes for", sizes))
    reasons = "; ".join(f"it {verb} {shortened(names, SHOWN)}" for verb, names in kinds if names)
    if reasons:
        raise ModelError(f"{what}: {reasons}. The architecture is probably another one.")


def _best_prefix(state: Collection[str], wanted: Collection[str], checkpoint: Checkpoint) -> str:
    """Return the prefix under which most of the wanted names are.

    Raises ModelError where two prefixes fit equally and neither is known to be the better one.
    """
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in wanted:
                found["".join(f"{part}." for part in parts[:depth])] += 1
    most = max(found.values(), default=0)
    best = sorted((prefix for prefix, count in found.items() if count == most), key=_preference) or [""]
    if len(best) > 1 and _preference(best[0])[0] == _preference(best[1])[0]:
        raise ModelError(
            f"{checkpoint.path}: holds {counted(len(best), 'set')} of weights that fit equally well "
            f"({shortened(best, SHOWN)}). Save the one that you want in a file of its own."
        )
    return best[0]


def _preference(prefix: str) -> tuple[int, int]:
    """Return what sorts prefixes: none at all, then the known ones in their order, then the others."""
    known = next((rank for rank, word in enumerate(PREFERRED) if word in prefix), len(PREFERRED))
    return (-1 if not prefix else known, len(prefix))


def _is_constant(name: str) -> bool:
    return name.rpartition(".")[2] in CONSTANTS


def _could_hold(module: nn.Module, name: str) -> bool:
    """Tell whether a weight that the network does not have is of a network of its kind: one block more, say."""
    owner: Any = module
    path: list[str] = []
    for part in name.split("."):
        if not isinstance(owner, nn.Module) or not hasattr(owner, part):
            return ".".join(path) not in TOWERS
        owner = getattr(owner, part)
        path.append(part)
    return True


def _sizes(name: str, given: Tensor, wanted: Tensor) -> str:
    return f"{name} ({_shape(given)} in the file, {_shape(wanted)} in the network)"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _parts(names: Iterable[str]) -> tuple[str, ...]:
    """Return each first part of names once: of `decoder.0.weight` and `decoder.0.bias`, `decoder`."""
    return tuple(sorted({name.partition(".")[0] for name in names}))
