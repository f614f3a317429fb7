"""CLIP_benchmark 1.6.2's side, run by the Python of an environment of its own: a request per line.

    DIR/bin/python -O benchmarks/peer.py CHECKPOINT DATA_ROOT

Its own functions do the work, with its own defaults (batches of 64, 4 workers). The feature pass is that of its
`linear_probe.evaluate`, which ends here where it would start to train. That asserts a GPU; -O leaves assertions out.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from typing import Any

import torch
from clip_benchmark.datasets.builder import build_dataset, get_dataset_collate_fn
from clip_benchmark.metrics import linear_probe, zeroshot_classification
from clip_benchmark.models import load_clip

BATCH, WORKERS = 64, 4
ARCHITECTURE = "ViT-S-32"


class FeaturesDoneError(Exception):
    """The features are stored; training would follow."""


def main(checkpoint: str, root: str) -> None:
    """Answer requests, each by its seconds, until the input ends.

    `{"what": "zero_shot" | "features", "amp": bool, "images": int}`: the first images of the test split are read.
    """
    model, transform, tokenizer = load_clip("open_clip", ARCHITECTURE, checkpoint, None, "cpu")
    model.eval()
    whole = build_dataset("mnist", root, transform, "test", download=False)

    def loader(start: int, stop: int) -> Any:
        part = torch.utils.data.Subset(whole, range(start, stop))
        part.classes = whole.classes
        collate = get_dataset_collate_fn("mnist")
        return torch.utils.data.DataLoader(part, BATCH, num_workers=WORKERS, collate_fn=collate)

    def zero_shot(amp: bool, count: int) -> None:
        batches = loader(0, count)
        zeroshot_classification.evaluate(model, batches, tokenizer, whole.classes, whole.templates, "cpu", amp)

    def features(amp: bool, count: int) -> None:
        halves = loader(0, count // 2), loader(count // 2, count)
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(FeaturesDoneError):
            linear_probe.evaluate(
                model, *halves, -1, BATCH, WORKERS, 0.1, 10, "m", 0, folder, device="cpu", amp=amp, verbose=False
            )

    def stop(*_: Any) -> None:
        raise FeaturesDoneError

    linear_probe.train = stop
    linear_probe.Featurizer.cuda = lambda featurizer: featurizer  # it has no way to run on a CPU
    work = {"zero_shot": zero_shot, "features": features}
    for line in sys.stdin:
        asked = json.loads(line)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            started = time.perf_counter()
            work[asked["what"]](asked["amp"], min(asked["images"], len(whole)))
            seconds = time.perf_counter() - started
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
