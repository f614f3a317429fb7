"""The JSON schema of task and prompt files, for editors and other programs."""

from __future__ import annotations

import json

from evalsuite.tasks.spec import PromptSpec, TaskSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def task_schema() -> str:
    """Return the JSON schema of task files."""
    schema = TaskSpec.model_json_schema()
    # A file need not give the name: it is the file's own.
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return json.dumps({"$schema": DIALECT, **schema}, indent=2)


def prompt_schema() -> str:
    """Return the JSON schema of prompt files."""
    return json.dumps({"$schema": DIALECT, **PromptSpec.model_json_schema()}, indent=2)
