"""Models in the format of transformers: a repository of the hub, or a folder that `save_pretrained` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite.errors import MissingExtraError, ModelError
from evalsuite.hashing import files_sha256
from evalsuite.models.base import Logits
from evalsuite.models.identity import describe_config, fingerprint
from evalsuite.models.names import ResolvedModel
from evalsuite.models.repositories import CONFIG, TEXT_TYPES, Repository, fetch, pinned
from evalsuite.text import shortened

if TYPE_CHECKING:
    from evalsuite.models.modules import TorchImageModel
    from evalsuite.models.skeletons import Skeleton
    from evalsuite.models.transformers_networks import HubTokenizer, ImageNetwork

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Where weights are, best first; an index names the files that they are parted into."""

PROCESSORS = ("preprocessor_config.json", "processor_config.json")

VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model")
"""One of these a tokenizer has."""

TEXT_FILES = (
    *VOCABULARIES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt",
    "tokenizer.model",
)  # fmt: skip

NO_PART_OF_THE_NETWORK = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "id2label", "label2id", "architectures"}
)
"""Keys of config.json that change no feature."""

DEFAULT_SIDE = 224
"""Side of images of transformers' image configurations that name none."""

RULES = 1
"""Raised when what is made of a configuration changes: the reading of layers, images or texts."""


@dataclass(frozen=True)
class Parts:
    """The files of a model that are on this machine. folder: where they are. weights: with their index, if any."""

    folder: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    processor: Path
    texts: tuple[Path, ...]

    def fingerprint(self, image_size: int | None, cache_dir: Path | None) -> str:
        """Return the fingerprint: bytes of weights and tokenizer, configurations, rules of ours."""
        kept = {key: value for key, value in self.config.items() if key not in NO_PART_OF_THE_NETWORK}
        return fingerprint(
            backend="hf",
            rules=RULES,
            weights=self.digests(cache_dir),
            architecture=kept,
            preprocessing=self.preprocessing,
            texts=files_sha256(self.texts, cache_dir) if self.config.get("model_type") in TEXT_TYPES else [],
            **({"image_size": image_size} if image_size else {}),
        )

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """How images are prepared, as the file says it."""
        content = json.loads(self.processor.read_text("utf-8"))
        found: dict[str, Any] = content.get("image_processor", content)
        return found

    def digests(self, cache_dir: Path | None) -> list[str]:
        """Return 'sha256:...' of each file with weights."""
        return [f"sha256:{digest}" for digest in files_sha256(self.weights, cache_dir)]


def load(resolved: ResolvedModel, *, offline: bool, cache_dir: Path | None) -> TorchImageModel:
    """Load the model; ModelError when it is not available, or of a kind that nobody here knows how to read."""
    if find_spec("transformers") is None:
        raise MissingExtraError("transformers", "transformers", f"The model {resolved.name}")
    from evalsuite.models.image_processors import preprocessing, read_processor
    from evalsuite.models.plans import examined
    from evalsuite.models.transformers_networks import make_network, make_tokenizer

    repository = _repository(resolved)
    _check_kind(repository, resolved)
    parts = _fetched(repository, resolved, offline)
    with _quiet():
        processor = read_processor(parts.folder, resolved.name)
        preprocess = preprocessing(processor, resolved.name, resolved.image_size)
        network: ImageNetwork = make_network(parts.folder, parts.config, resolved)
        tokenizer: HubTokenizer | None = make_tokenizer(parts.folder, network, resolved.name)
    digests = parts.digests(cache_dir)
    commit = "" if repository.folder else f"@{parts.folder.name}"
    return examined(network.eval(), preprocess, resolved).as_model(
        resolved,
        tokenizer,
        fingerprint=parts.fingerprint(resolved.image_size, cache_dir),
        weights=f"{repository.id}{commit} {parts.weights[0].name} {digests[0]}",
        preprocessing=_described(parts, resolved.image_size),
        warnings=network.warnings,
        model_type=parts.config["model_type"],
    )


def weights_fingerprint(resolved: ResolvedModel, *, cache_dir: Path | None) -> str | None:
    """Return the fingerprint the loaded model will have, or None while it is not on this machine."""
    parts = _found(_repository(resolved))
    return parts.fingerprint(resolved.image_size, cache_dir) if parts else None


def known_logits(resolved: ResolvedModel, *, cache_dir: Path | None) -> Logits | None:
    """Return the scale and the bias in the weights, where these are on this machine in one file."""
    from evalsuite.models.logits import stored_logits

    parts = _found(_repository(resolved))
    if parts is None or len(parts.weights) > 1 or parts.config.get("model_type") not in TEXT_TYPES:
        return None
    return stored_logits(parts.weights[0])


def described(resolved: ResolvedModel, cache_dir: Path | None) -> Iterator[tuple[str, str]]:
    """Yield (what, value) of a model, as far as files on this machine say it; nothing is loaded."""
    repository = _repository(resolved)
    parts = _found(repository)
    if parts is None:
        yield "weights", f"hub repository {repository.id}, not on this machine"
        return
    kind = str(parts.config.get("model_type"))
    yield "weights", f"{shortened([path.name for path in parts.weights], 2)} of {repository.id}"
    yield "kind", f"{kind} of transformers{'' if kind in TEXT_TYPES else ', without texts'}"
    yield "preprocessing", _described(parts, resolved.image_size)
    if kind in TEXT_TYPES and find_spec("transformers") is not None:
        from evalsuite.models.transformers_networks import text_context

        with _quiet():
            yield "texts", text_context(parts.folder, resolved.name)


def skeleton(resolved: ResolvedModel) -> Skeleton | None:
    """Return the network without weights; None where its configuration, or transformers, is not on this machine."""
    from evalsuite.models.skeletons import Skeleton, without_weights
    from evalsuite.models.transformers_networks import IMAGE_TYPES, empty_network

    config = _repository(resolved).read(CONFIG) or {}
    if config.get("model_type") not in {*TEXT_TYPES, *IMAGE_TYPES} or find_spec("transformers") is None:
        return None
    found = resolved.image_size or config.get("image_size") or (config.get("vision_config") or {}).get("image_size")
    side = int(found[0] if isinstance(found, list) else found or DEFAULT_SIDE)
    with _quiet(), without_weights():
        return Skeleton(empty_network(resolved), (3, side, side))


def _described(parts: Parts, image_size: int | None) -> str:
    kept = {key: value for key, value in parts.preprocessing.items() if not key.startswith(("_", "processor_class"))}
    size = f", images of {image_size} pixels" if image_size else ""
    return f"RGB, {describe_config(kept)}{size}"


def _repository(resolved: ResolvedModel) -> Repository:
    if resolved.repository is None:
        raise RuntimeError(f"{resolved.name} has no repository.")
    return resolved.repository


def _check_kind(repository: Repository, resolved: ResolvedModel) -> None:
    """Raise ModelError for a network that nobody here knows how to read, before its weights are fetched."""
    from evalsuite.models.transformers_networks import IMAGE_TYPES

    kind = str((repository.read(CONFIG) or {}).get("model_type"))
    if kind in TEXT_TYPES or kind in IMAGE_TYPES:
        return
    naflex = " Its images are patches in any number; the checkpoints for one resolution are read." * (kind == "siglip2")
    raise ModelError(
        f"{resolved.name}: is of the type {kind!r} of transformers, whose features nobody here knows how to read."
        f"{naflex} Known: {', '.join(sorted({*TEXT_TYPES, *IMAGE_TYPES}))}. "
        "A function of your own can return it: my_model.py:factory."
    )


def _fetched(repository: Repository, resolved: ResolvedModel, offline: bool) -> Parts:
    """Have all files on this machine, the weights last: where these are there, so is the rest."""
    found = _found(repository)
    if found is not None:
        return found
    at, wanted = pinned(repository), resolved.name
    fetch(at, PROCESSORS, wanted, offline=offline)
    if (at.read(CONFIG) or {}).get("model_type") in TEXT_TYPES:
        for filename in TEXT_FILES:
            fetch(at, [filename], wanted, offline=offline, optional=True)
    first = fetch(at, WEIGHTS, wanted, offline=offline)
    if first is not None:
        for filename in _parts_of(first):
            fetch(at, [filename], wanted, offline=offline)
    found = _found(at)
    if found is None:
        raise ModelError(f"{wanted}: {at.id} has no vocabulary: none of {', '.join(VOCABULARIES)}.")
    return found


def _found(repository: Repository) -> Parts | None:
    """Return the files that are on this machine; None where one is not that is needed."""
    at = pinned(repository)
    config = at.read(CONFIG)
    place = at.find(CONFIG)
    first = next((path for path in map(at.find, WEIGHTS) if path is not None), None)
    processor = next((path for path in map(at.find, PROCESSORS) if path is not None), None)
    if config is None or place is None or first is None or processor is None:
        return None
    weights = [first, *(at.find(filename) for filename in _parts_of(first))]
    texts = tuple(path for path in map(at.find, TEXT_FILES) if path is not None)
    words = any(path.name in VOCABULARIES for path in texts) or config.get("model_type") not in TEXT_TYPES
    complete = tuple(path for path in weights if path is not None)
    if len(complete) < len(weights) or not words:
        return None
    return Parts(place.parent, config, complete, processor, texts)


def _parts_of(weights: Path) -> Sequence[str]:
    """Return the names of the files that an index names; none of a file that is no index."""
    if not weights.name.endswith(".index.json"):
        return ()
    named = json.loads(weights.read_text("utf-8")).get("weight_map", {})
    return sorted(set(named.values()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from writing to the terminal, and leave its settings as they were."""
    from evalsuite.models.transformers_networks import library

    logging = library().utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
