"""Does a test notice? Each attack breaks one line of a copy of the code and runs the tests of that module.

A finding is a breakage that they do not notice: a test is missing, or the two lines mean the same. Of every ten, nine
or more are to be noticed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.campaign._breaking import Breakage, breakages
from tests.campaign.frame import Finding

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    "click", "datasets", "filelock", "hypothesis", "open_clip", "pandas", "pyarrow.parquet", "pydantic", "rich",
    "scipy.stats", "sklearn.linear_model", "sklearn.metrics", "statsmodels.stats.contingency_tables", "timm",
    "torchvision", "yaml",
)  # fmt: skip
"""What the tests import besides evalsuite."""

UNUSED = ("cacheprovider", "xdist", "pytest_cov")
"""Plugins that only take time here."""

COPIED = ("evalsuite", "prompts", "pyproject.toml", "results", "tasks", "tests")

SPLITS = ("tests/data/test_drawing.py", "tests/data/test_splits.py")
STORE = (
    "tests/features/test_pool_features.py",
    "tests/features/test_store_faults.py",
    "tests/features/test_damage.py",
    "tests/features/test_extraction.py",
)
BOARDS = (
    "tests/report/test_leaderboard_table.py",
    "tests/report/test_leaderboard_standings.py",
    "tests/report/test_further_protocols.py",
)
CHOICES = "tests/protocols/test_choices.py"
OPEN_CLIP = "tests/models/test_open_clip.py"

TESTS: Mapping[str, Sequence[str]] = {
    "evalsuite/metrics.py": ("tests/test_metrics.py", "tests/test_stats.py"),
    "evalsuite/stats.py": ("tests/test_stats.py",),
    "evalsuite/data/splits.py": SPLITS,
    "evalsuite/data/drawing.py": SPLITS,
    "evalsuite/data/labels.py": ("tests/data/test_labels.py",),
    "evalsuite/runner/doubts.py": ("tests/runner/test_recording.py",),
    "evalsuite/runner/recording.py": ("tests/runner/test_recording.py", "tests/runner/test_protocols_of_a_run.py"),
    "evalsuite/runner/fingerprints.py": ("tests/runner/test_fingerprints.py",),
    "evalsuite/runner/tasks.py": ("tests/runner/test_task_session.py", "tests/runner/test_fingerprints.py"),
    "evalsuite/models/identity.py": ("tests/models/test_identity.py", "tests/runner/test_stale_models.py"),
    "evalsuite/features/freshness.py": STORE,
    "evalsuite/features/store.py": STORE,
    "evalsuite/features/blocks.py": STORE,
    "evalsuite/features/merging.py": ("tests/cli/test_merge_command.py",),
    "evalsuite/features/precomputed.py": ("tests/runner/test_features_given.py",),
    "evalsuite/features/texts.py": ("tests/features/test_texts.py", "tests/features/test_damage.py"),
    "evalsuite/data/lists.py": ("tests/data/test_splits.py",),
    "evalsuite/data/opening.py": ("tests/data/test_sources.py", "tests/runner/test_fingerprints.py"),
    "evalsuite/data/sharing.py": (
        "tests/data/test_sharing.py",
        "tests/paper/test_shifts.py",
    ),
    "evalsuite/data/sources/folder.py": ("tests/data/test_folder_source.py",),
    "evalsuite/data/sources/huggingface.py": ("tests/data/test_huggingface_source.py",),
    "evalsuite/data/sources/hub_splits.py": ("tests/data/test_hub.py", "tests/data/test_huggingface_source.py"),
    "evalsuite/data/sources/table.py": ("tests/data/test_table_source.py",),
    "evalsuite/data/sources/torchvision.py": ("tests/data/test_torchvision_source.py",),
    "evalsuite/data/sources/webdataset.py": ("tests/data/test_webdataset_source.py",),
    "evalsuite/models/checkpoints.py": ("tests/models/test_checkpoints.py",),
    "evalsuite/models/feature_folders.py": ("tests/runner/test_features_given.py",),
    "evalsuite/models/fitting.py": ("tests/models/test_checkpoints.py",),
    "evalsuite/models/image_processors.py": ("tests/models/test_transformers.py",),
    "evalsuite/models/layers.py": ("tests/models/test_layers.py", "tests/models/test_timm.py", OPEN_CLIP),
    "evalsuite/models/logits.py": ("tests/models/test_identity.py", "tests/runner/test_logit_scale.py"),
    "evalsuite/models/modules.py": ("tests/models/test_identity.py", "tests/models/test_text_rules.py", OPEN_CLIP),
    "evalsuite/models/preprocessing.py": ("tests/models/test_preprocessing.py", "tests/features/test_decoders.py"),
    "evalsuite/models/text_rules.py": ("tests/models/test_text_rules.py",),
    "evalsuite/nearest.py": ("tests/protocols/test_knn.py",),
    "evalsuite/probe/sweep.py": ("tests/probe/test_sweep.py",),
    "evalsuite/probe/solver.py": ("tests/probe/test_solver.py", "tests/probe/test_random_problems.py"),
    "evalsuite/protocols/bias.py": ("tests/protocols/test_bias.py",),
    "evalsuite/protocols/calibrating.py": (CHOICES,),
    "evalsuite/protocols/few_shot.py": (CHOICES, "tests/protocols/test_few_shot.py"),
    "evalsuite/protocols/knn.py": (CHOICES, "tests/protocols/test_knn.py"),
    "evalsuite/protocols/prototype.py": (CHOICES, "tests/protocols/test_prototype.py"),
    "evalsuite/protocols/retrieval.py": ("tests/protocols/test_retrieval.py",),
    "evalsuite/protocols/training.py": (CHOICES, "tests/protocols/test_linear_probe.py"),
    "evalsuite/calibration.py": ("tests/test_calibration.py",),
    "evalsuite/protocols/linear_probe.py": ("tests/protocols/test_linear_probe.py",),
    "evalsuite/protocols/zero_shot.py": ("tests/protocols/test_zero_shot.py",),
    "evalsuite/protocols/scoring.py": ("tests/protocols/test_scoring.py",),
    "evalsuite/report/claims.py": ("tests/report/test_leaderboard_standings.py",),
    "evalsuite/report/comparison.py": ("tests/report/test_comparison.py",),
    "evalsuite/report/export.py": ("tests/report/test_export.py",),
    "evalsuite/report/few_shot.py": ("tests/report/test_further_protocols.py",),
    "evalsuite/report/leaderboard.py": BOARDS,
    "evalsuite/report/pairing.py": ("tests/report/test_places.py", "tests/report/test_comparison.py"),
    "evalsuite/report/places.py": ("tests/report/test_places.py",),
    "evalsuite/report/ranking.py": BOARDS,
    "evalsuite/report/reproduction.py": ("tests/report/test_reproduction.py",),
    "evalsuite/report/robustness.py": ("tests/report/test_robustness.py",),
    "evalsuite/report/table.py": (*BOARDS, "tests/report/test_places.py"),
    "evalsuite/results/consistency.py": ("tests/results/test_damage.py", "tests/results/test_result_store.py"),
    "evalsuite/results/figures.py": ("tests/report/test_paper_figures.py",),
    "evalsuite/results/importing.py": ("tests/results/test_importing.py",),
    "evalsuite/results/merging.py": ("tests/cli/test_merge_command.py",),
    "evalsuite/results/numbers.py": ("tests/results/test_numbers.py", "tests/report/test_export.py", *BOARDS),
    "evalsuite/results/published.py": ("tests/results/test_published_tables.py",),
    "evalsuite/results/samples.py": ("tests/results/test_samples.py", "tests/results/test_damage.py"),
    "evalsuite/results/shift.py": ("tests/report/test_robustness.py",),
    "evalsuite/speed/estimate.py": ("tests/speed/test_speed.py",),
    "evalsuite/results/store.py": (
        "tests/results/test_result_store.py",
        "tests/results/test_damage.py",
        "tests/results/test_result_store_processes.py",
    ),
}
"""What decides a number or keeps it -> its tests, the quickest first."""


@dataclass(frozen=True)
class Bench:
    """A copy of the checkout in which code is broken, and a process that runs its tests."""

    folder: Path
    process: subprocess.Popen[str]

    def passes(self, tests: Sequence[str], seconds: float) -> bool:
        """Say whether all tests pass within the time."""
        assert self.process.stdin is not None and self.process.stdout is not None
        options = ["-x", "-q", *(part for name in UNUSED for part in ("-p", f"no:{name}")), *tests]
        self.process.stdin.write(json.dumps([options, round(seconds)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) == 0

    def notices(self, module: str, breakage: Breakage, tests: Sequence[str], seconds: float, stamp: int) -> bool:
        """Break a module, run the tests and put the module back. stamp: another one each time.

        Compiled code is taken for current by the time in seconds and the size of its source.
        """
        path = self.folder / module
        source = path.read_bytes()
        try:
            path.write_bytes(breakage.applied(source))
            os.utime(path, (stamp, stamp))
            return not self.passes(tests, seconds)
        finally:
            path.write_bytes(source)
            os.utime(path, (0, 0))


def copied(folder: Path) -> Path:
    """Copy the code, the data and the tests of the checkout."""
    ignored = shutil.ignore_patterns("__pycache__", "runs")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@contextmanager
def bench(folder: Path, libraries: Sequence[str] = LIBRARIES) -> Iterator[Bench]:
    """Start the process that runs the tests of a folder."""
    pipe = subprocess.PIPE
    paths = {"PYTHONPATH": f"{folder}:{ROOT}", "EVALSUITE_SHARED": str(folder / "none")}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.campaign._forking", *libraries]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=folder, env=environment) as process:
        yield Bench(folder, process)
        assert process.stdin is not None
        process.stdin.close()


def rounds(folder: Path, random: random.Random) -> Iterator[Finding | None]:
    """Break each place of each module once, in any order."""
    places = [(module, one) for module in TESTS for one in breakages((ROOT / module).read_bytes())]
    random.shuffle(places)
    yield from attacks(folder, places)


def attacks(folder: Path, places: Sequence[tuple[str, Breakage]]) -> Iterator[Finding | None]:
    """Break one place after the other. Raises RuntimeError where the tests of a module fail before it is broken."""
    seconds: dict[str, float] = {}
    with bench(copied(folder)) as used:
        for stamp, (module, one) in enumerate(places, 1):
            tests = TESTS[module]
            if module not in seconds:
                begun = time.monotonic()
                if not used.passes(tests, 600):
                    raise RuntimeError(f"{' '.join(tests)} fail as they are: {folder / 'pytest.log'}")
                seconds[module] = 10 + 5 * (time.monotonic() - begun)
            source = (ROOT / module).read_bytes()
            if used.notices(module, one, tests, seconds[module], stamp):
                yield None
            else:
                yield Finding(f"{module}, {one.told(source)}", f"{' '.join(tests)} pass")
