"""The command line: one file per subcommand, each a call into the library.

Nothing heavy is imported here: `evalsuite --help` must answer at once.
"""

from __future__ import annotations

import io
import sys

import click

from evalsuite import __version__
from evalsuite.cli.arguments import volume_options
from evalsuite.cli.options import Group
from evalsuite.cli.signals import code_of, end_on_signals, leave_signals
from evalsuite.cli.terminal import comes_from_output, complain, leave_output, prepare_output, say
from evalsuite.errors import EvalsuiteError, UsageError, fault_of_the_system
from evalsuite.text import brief

EXIT_FAILED = 1
EXIT_USAGE = 2

COMMANDS = {
    "run": ("evalsuite.cli.run:run", "Evaluate models on tasks."),
    "speed": ("evalsuite.cli.speed:speed", "Measure this machine and say how long a run will take."),
    "predict": ("evalsuite.cli.predict:predict", "Classify your own images."),
    "search": ("evalsuite.cli.search:search", "Find images by words or by an image."),
    "leaderboard": ("evalsuite.cli.leaderboard:leaderboard", "Show results as a table of models and tasks."),
    "import": ("evalsuite.cli.importing:import_results", "Read other people's results, for the leaderboard."),
    "export": ("evalsuite.cli.export:export", "Write results for other programs: csv, parquet, model card."),
    "audit": ("evalsuite.cli.audit:audit", "Find duplicates between train and test, and wrong labels."),
    "compare": ("evalsuite.cli.compare:compare", "Compare two models, or results with the paper's numbers."),
    "robustness": ("evalsuite.cli.robustness:robustness", "Compare accuracies under shift with baselines."),
    "figure": ("evalsuite.cli.figure:figure", "Draw a figure of the paper from your results and its numbers."),
    "table": ("evalsuite.cli.table:table", "Show a table of the paper with your results in it."),
    "bias": ("evalsuite.cli.bias:bias", "Count whom a model gives labels of crime or animals (FairFace)."),
    "report": ("evalsuite.cli.report:report", "Write the results as a web page: tables, plots, mistakes."),
    "ls": ("evalsuite.cli.ls:ls", "List tasks, groups or models."),
    "describe": ("evalsuite.cli.describe:describe", "Say what a task is and how to get its images."),
    "download": ("evalsuite.cli.download:download", "Fetch the images of tasks."),
    "validate": ("evalsuite.cli.validate:validate", "Check task files and the data they describe."),
    "new": ("evalsuite.cli.new:new", "Write a commented file to start from."),
    "merge": ("evalsuite.cli.merge:merge", "Join results and features of several machines."),
    "cache": ("evalsuite.cli.cache:cache", "Look after the stored features."),
}


@click.group(
    cls=Group,
    lazy=COMMANDS,
    default="run",
    params=volume_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""
    evalsuite run                                       pocket and pixels on the embedded task, no download
    evalsuite run -m ViT-B/32 -t all --data-root DIR    the paper's 27 datasets
    evalsuite leaderboard --published resnet/50         the results, with a row of the paper
    evalsuite ls models                                 what can be evaluated
    evalsuite new task my_birds.yaml                    add a dataset of your own
    """,
)
@click.version_option(__version__, "-V", "--version", prog_name="evalsuite")
def evalsuite() -> None:
    """Benchmark image encoders: zero-shot classification and linear probes over the CLIP paper's datasets."""


def main() -> None:
    """Run the command line; what a user can fix is one message and an exit code, not a traceback."""
    end_on_signals()
    prepare_output()
    try:
        code = _run()
    except BrokenPipeError:
        code = 0  # the reader (head, less) has gone: nothing more to say, and nothing went wrong
    leave_signals()
    if fault := leave_output():
        complain(EvalsuiteError(f"The output cannot be written: {fault}. What was computed is stored."))
        code = EXIT_FAILED
    sys.exit(code)


def _run() -> int:
    """Run the command line and return the exit code."""
    try:
        code = evalsuite.main(standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SystemExit as error:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):  # how click ends where nobody reads
            return 0
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except click.exceptions.Abort as error:
        return _interrupted(error)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        is_help = "\nOptions:" in shown.getvalue()
        say(shown.getvalue() if is_help else brief(shown.getvalue()), err=not is_help, nl=not is_help)
        return error.exit_code
    except EvalsuiteError as error:
        complain(error)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except (MemoryError, RecursionError) as error:
        complain(EvalsuiteError(f"There is not enough memory for this ({type(error).__name__}: {error})."))
        return EXIT_FAILED
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and comes_from_output(error):
            complain(EvalsuiteError(f"The output cannot be written: {error.strerror}. What was computed is stored."))
            return EXIT_FAILED
        fault = fault_of_the_system(error)
        if fault is None and isinstance(error, OSError):
            fault = f"{error}. Look at the rights of that file or folder, and at its disk."
        if fault is None:
            raise
        complain(EvalsuiteError(fault))
        return EXIT_FAILED


def _interrupted(error: BaseException) -> int:
    if isinstance(error.__cause__, EOFError):  # click takes it for the end of what a person types
        complain(EvalsuiteError(f"a file ends too early: {error.__cause__}"))
        return EXIT_FAILED
    say("\nInterrupted. What is done is stored; the same command resumes the run.", err=True)
    return code_of(error)
