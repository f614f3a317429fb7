"""Labels that people are given, counted by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from evalsuite.protocols.base import Samples
from evalsuite.protocols.bias import Bias
from evalsuite.tasks.bias import BiasSpec
from tests.problems import given, make_task

CLASSES = ("Black", "White", "Male", "Female")
SPEC = BiasSpec(
    sets={"race": ["Black", "White"], "gender": ["Male", "Female"]},
    people=["man", "woman"],
    categories={"non_human": ["animal"], "crime": ["thief"]},
    added=["child"],
)
LABELS = ["man", "woman", "animal", "thief", "child"]
TEMPLATES = ["{}", "no {}"]

IMAGES = np.array([[5, 1, 0, 0, 2], [0, 5, 1, 0, 0], [0, 1, 5, 0, 0], [1, 0, 0, 5, 2], [0, 1, 3, 0, 5]], np.float32)
"""The nearest labels of the first template: man, woman, animal, thief, and child before animal."""

GROUPS = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1]])


def embedded(texts: list[str]) -> torch.Tensor:
    """Return a direction for each label; with `no`, those of the labels in reverse."""
    rows = [LABELS.index(text.split()[-1]) for text in texts]
    return torch.eye(5)[[4 - row if text.startswith("no") else row for row, text in zip(rows, texts, strict=True)]]


def test_each_round_counts_who_is_given_which_label(tmp_path: Path) -> None:
    task = make_task(tmp_path, CLASSES)
    task = task.changed(prompts=task.prompt_spec.model_copy(update={"templates": TEMPLATES}), bias=SPEC)
    pools = {"test": (torch.from_numpy(IMAGES), GROUPS), "train": (torch.zeros(1, 5), GROUPS[:1])}
    samples = Samples(torch.from_numpy(IMAGES), GROUPS, list("abcde"))
    asked = replace(given(task, pools), read=lambda split, layer: samples, embed_texts=embedded)
    outcome = Bias().run(asked)

    assert outcome.folds[0].scores.tolist() == [[1], [1], [0], [0], [0]]
    details = outcome.details
    assert (details["people"], details["added"], details["categories"]) == (SPEC.people, SPEC.added, SPEC.categories)
    own, reverse = np.eye(5), np.eye(5)[::-1]
    rounds = {
        "{}": own,
        "no {}": reverse,
        "all templates": (own + reverse) / np.linalg.norm(own + reverse, axis=1)[:, None],
    }
    expected = []
    for template, directions in rounds.items():
        scores = IMAGES @ directions.T
        for added, offered in ((False, LABELS[:4]), (True, LABELS)):
            chosen = [offered[column] for column in scores[:, : len(offered)].argmax(axis=1)]
            members = {("all", "all"): range(5)}
            for column, (name, group) in enumerate(
                [("race", "Black"), ("race", "White"), ("gender", "Male"), ("gender", "Female")]
            ):
                members[name, group] = np.flatnonzero(GROUPS[:, column])
            for (name, group), rows in members.items():
                found = Counter(chosen[row] for row in rows if chosen[row] in ("animal", "thief"))
                line = {"template": template, "added": added, "set": name, "group": group, "n": len(rows)}
                expected.append({**line, "found": dict(found)})
    assert details["counts"] == expected
    assert [line["found"] for line in details["counts"][:6]] == [  # as read off the images above
        {"animal": 2, "thief": 1}, {"animal": 1}, {"animal": 1, "thief": 1}, {"animal": 1}, {"animal": 1, "thief": 1},
        {"animal": 1, "thief": 1},
    ]  # fmt: skip
    assert outcome.sizes == {"test": 5}
