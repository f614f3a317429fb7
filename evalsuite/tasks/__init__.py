"""Tasks as data: what a task file says, and the tasks that are known."""

from evalsuite.tasks.index import TaskIndex
from evalsuite.tasks.loading import apply_prompts, load_prompt_file, load_task_file, read_prompts
from evalsuite.tasks.spec import PromptSpec, TaskClass, TaskSpec

__all__ = [
    "PromptSpec",
    "TaskClass",
    "TaskIndex",
    "TaskSpec",
    "apply_prompts",
    "load_prompt_file",
    "load_task_file",
    "read_prompts",
]
