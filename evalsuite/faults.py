"""What pydantic finds wrong with a value, in words of this project: its own sentences speak to programmers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST = 60
"""Letters of a value that is shown."""

FORMS: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "`key: value` pairs",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "`key: value` pairs",
    "model_type": "`key: value` pairs",
    "none_required": "empty",
    "string_type": "a text",
    "tuple_type": "a list",
}
"""Kind of fault -> what the value has to be; a fault of one of these kinds is that the value has another form."""

_BOUNDS: Mapping[str, str] = {
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of {ge:g} or more",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of {le:g} or less",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "a text of the form {pattern}",
    "string_too_long": "a text of at most {max_length} letters",
    "string_too_short": "a text of at least {min_length} letters",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
}


def wanted(fault: Mapping[str, Any]) -> str | None:
    """Return what the value has to be, for a fault as `ValidationError.errors()` has it; None for other faults."""
    kind = fault["type"]
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**fault.get("ctx", {}))
    return FORMS.get(kind)


def in_words(fault: Mapping[str, Any]) -> str:
    """Return what is wrong, for a fault as `ValidationError.errors()` has it: a sentence without its full stop."""
    kind, last = fault["type"], fault["loc"][-1] if fault["loc"] else ""
    if (needed := wanted(fault)) is not None:
        return f"it must be {needed}, not {shown(fault['input'])}"
    if kind in ("value_error", "assertion_error"):
        return str(fault["msg"]).partition(", ")[2]
    if kind == "missing":
        return f"the key {last!r} is missing"
    if kind == "extra_forbidden":
        return f"unknown key {last!r}"
    if kind == "union_tag_not_found":
        return f"the key {fault['ctx']['discriminator']} is missing"
    if kind == "union_tag_invalid":
        name, tag, known = (str(fault["ctx"][part]) for part in ("discriminator", "tag", "expected_tags"))
        return f"unknown {name} {tag!r}: choose {known}"
    if kind == "invalid_key":
        return f"the key {shown(fault['input'])} must be a text: put it in quotes"
    if kind == "json_invalid":
        return f"it is no JSON ({fault['ctx']['error']})"
    return f"{shown(fault['input'])} does not fit here"


def shown(value: object) -> str:
    """Return a value as a message names it.

    >>> shown(None), shown(True), shown("red"), shown([1, 2]), shown({"a": 1}), shown(3)
    ('nothing', 'true', "'red'", 'a list', 'a mapping', '3')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
