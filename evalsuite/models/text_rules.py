"""What a tokenizer does to texts, found by asking it, and whether the text encoder reads them as it was trained to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from evalsuite.errors import ModelError

TEXTS = ("a photo of a dog", "two red airplanes above a city at night", "the number seven")
"""Texts that no encoder should take for one another."""

ALIKE = 1 - 1e-6
"""Cosine from which on two embeddings are one: what rounding leaves of 1."""

CLIP_VOCABULARY = 49_408
"""Tokens of CLIP's vocabulary, whose words are lower-case (paper, section 2.4)."""

ENDS = 2
"""Tokens before and after those of a text. No tokenizer makes more of the text itself than it has bytes."""

MANY_WORDS = "dog " * 2_000
"""More than any text encoder reads."""


@dataclass(frozen=True)
class TextRules:
    """What a tokenizer does. context: tokens per text; lower_case, no_punctuation: whether these make no difference.

    padding: the token after the end of a short text; None: it is not padded to the context.
    """

    context: int
    lower_case: bool
    no_punctuation: bool
    padding: int | None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


def text_rules(tokenizer: Callable[[list[str]], Any]) -> TextRules | None:
    """Ask a tokenizer for its rules; None where it does not return (n, context) numbers, as some of one's own do."""
    tokens = _tokens(tokenizer, ["a dog", "A Dog", "a dog!", MANY_WORDS])
    if tokens is None:
        return None
    short, capital, marked, _ = tokens
    padded = bool((short[-1] == short[-2]) and len(short) > 2)
    same = (bool(torch.equal(short, capital)), bool(torch.equal(short, marked)))
    return TextRules(tokens.shape[1], *same, int(short[-1]) if padded else None)


def text_faults(
    module: nn.Module, tokenizer: Callable[[list[str]], Any], encode: Callable[[list[str]], torch.Tensor]
) -> list[str]:
    """Return what is wrong with how texts are read, in words: nothing, where all is as it was trained.

    encode: texts -> (n, dim) embeddings. Raises ModelError where the encoder cannot read the tokens at all.
    """
    if not _knows(tokenizer):
        return []
    rules, trained = text_rules(tokenizer), _trained_context(module)
    wrong = rules is not None and trained is not None and trained != rules.context
    context = (
        f"The tokenizer makes {rules.context if rules else 0} tokens of a text; the encoder was trained with {trained}."
    )
    try:
        unit = functional.normalize(encode(list(TEXTS)).float(), dim=1)
    except (RuntimeError, IndexError) as error:  # IndexError: a number beyond the vocabulary
        reason = context if wrong else f"{type(error).__name__}: {error}"
        raise ModelError(f"The text encoder cannot read what the tokenizer gives. {reason}") from error
    found = [context] if wrong else []
    if (unit @ unit.T).fill_diagonal_(-1).max() > ALIKE:
        found.append("Texts that differ get one embedding: the text encoder or its tokenizer does not work.")
    if rules is None:
        return found
    if getattr(module, "vocab_size", None) == CLIP_VOCABULARY and not rules.lower_case:
        found.append("The tokenizer keeps capitals; CLIP's vocabulary, which the text encoder has, is lower-case.")
    if not _keeps_the_end(module, tokenizer):
        found.append("The tokenizer cuts off the end token of long texts, where the text encoder reads them.")
    return [*found, *_of_padding(module, rules)]


def _of_padding(module: nn.Module, rules: TextRules) -> Iterator[str]:
    """Yield what is wrong with the tokens after the end of short texts."""
    tower: Any = getattr(module, "text", module)
    masked = isinstance(getattr(tower, "cls_emb", None), torch.Tensor) or getattr(tower, "use_pad_mask", False)
    pad = getattr(tower, "pad_id", None)
    if masked and pad is not None and rules.padding not in (None, pad):
        yield f"The tokenizer pads texts with the token {rules.padding}; the text encoder leaves out the token {pad}."
    if not masked and _pool(module) == "last" and rules.padding is None:
        yield "The tokenizer does not pad texts to the context, and the text encoder reads its last position."


def cut_texts(tokenizer: Callable[[list[str]], Any], texts: Sequence[str]) -> list[int]:
    """Return the numbers of texts of which the tokenizer leaves out the end, because the encoder reads no more tokens.

    Texts that fill the context are looked at: tokenizers of open_clip are asked for more of it; of another, a text
    without its last word must give other tokens.
    """
    short = _tokens(tokenizer, ["a"])
    if short is None:
        return []
    context, padding = short.shape[1], short[0, -1]
    long = [number for number, text in enumerate(texts) if len(text.encode()) + ENDS > context]
    tokens = _tokens(tokenizer, [texts[number] for number in long]) if long else None
    if tokens is None:
        return []
    full = [number for number, row in zip(long, tokens, strict=True) if row[-1] != padding]
    return [number for number in full if _is_cut(tokenizer, texts[number], context, padding)]


def _is_cut(tokenizer: Any, text: str, context: int, padding: torch.Tensor) -> bool:
    if "context_length" in _parameters(tokenizer):
        longer = _tokens(lambda texts: tokenizer(texts, context_length=len(text.encode()) + ENDS), [text])
        return longer is not None and bool((longer[0, context:] != padding).any())
    both = _tokens(tokenizer, [text, text.rstrip().rpartition(" ")[0]])
    return both is not None and bool(torch.equal(both[0], both[1]))


def _parameters(tokenizer: Callable[..., Any]) -> Iterable[str]:
    try:
        return inspect.signature(tokenizer).parameters
    except (TypeError, ValueError):  # of some objects of C extensions nothing is known
        return ()


def _knows(tokenizer: Callable[[list[str]], Any]) -> bool:
    """Say whether a tokenizer takes English texts; one of one's own may know the words of its tasks alone."""
    try:
        tokenizer(list(TEXTS))
    except Exception:  # noqa: BLE001 - whatever it raises: texts that are asked for are another matter
        return False
    return True


def _tokens(tokenizer: Callable[[list[str]], Any], texts: list[str]) -> torch.Tensor | None:
    try:
        tokens = tokenizer(texts)
    except Exception:  # noqa: BLE001 - OpenAI's refuses long texts, and one of one's own any text it was not made for
        return None
    known = isinstance(tokens, torch.Tensor) and tokens.ndim == 2 and tokens.shape[1] > 1
    return tokens if known and len(tokens) == len(texts) else None


def _trained_context(module: nn.Module) -> int | None:
    """Return the tokens that the positions of a text tower are for, where it has some as CLIP and open_clip do."""
    positions = getattr(getattr(module, "text", module), "positional_embedding", None)
    if not isinstance(positions, torch.Tensor) or positions.ndim != 2:
        return None
    own_token = isinstance(getattr(getattr(module, "text", module), "cls_emb", None), torch.Tensor)  # CoCa adds it
    return len(positions) - int(own_token)


def _pool(module: nn.Module) -> str | None:
    """Return at which of its tokens a text is read, as open_clip calls it."""
    if (type(module).__module__, type(module).__name__) == ("clip.model", "CLIP"):
        return "argmax"
    pool: str | None = getattr(module, "text_pool_type", getattr(getattr(module, "text", module), "pool_type", None))
    return pool


def _keeps_the_end(module: nn.Module, tokenizer: Callable[[list[str]], Any]) -> bool:
    """Tell whether long texts have the token at which the encoder reads them: the highest, or one by its number."""
    tokens, pool = _tokens(tokenizer, ["a dog", MANY_WORDS]), _pool(module)
    if tokens is None or pool not in ("argmax", "eos"):
        return True
    if pool == "argmax":
        return int(tokens[0].max()) == int(tokens[1].max())
    end = getattr(module, "text_eos_id", getattr(getattr(module, "text", module), "eos_id", None))
    return end is None or bool((tokens == end).any(dim=1).all())
