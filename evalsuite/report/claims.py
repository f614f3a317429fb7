"""Check the claims of a paper on tables: its own rows, and those that were measured."""

from __future__ import annotations

from collections.abc import Sequence

from evalsuite.report.ranking import rows_called, with_standings
from evalsuite.report.table import Row, Verdict
from evalsuite.results.claims import Claim, ClaimedRows
from evalsuite.text import counted

CONFIRMED = "confirmed"
HOLDS = "holds, with another figure"
FAILS = "does not hold"
UNKNOWN = "cannot be told"


def check_claims(claims: Sequence[Claim], rows: Sequence[Row], tasks: Sequence[str]) -> list[Verdict]:
    """Return a verdict for each claim and each origin of `rows` that has what the claim speaks of.

    tasks: those the claims are about; rows without a value for each of them do not count, so that no average is
    over another set of tasks. A claim that no origin can answer gets one verdict that says what is missing.
    """
    whole = [row for row in rows if all(task in row.cells and not row.cells[task].partial for task in tasks)]
    origins = list(dict.fromkeys(row.origin.label for row in whole))
    verdicts: list[Verdict] = []
    for claim in claims:
        found = [
            _check(claim, origin, [row for row in whole if row.origin.label == origin], tasks) for origin in origins
        ]
        answered = [verdict for verdict in found if verdict.value is not None]
        verdicts += answered or found[:1] or [_check(claim, "no origin", [], tasks)]
    return verdicts


def _check(claim: Claim, origin: str, rows: Sequence[Row], tasks: Sequence[str]) -> Verdict:
    subject = _best(claim.subject, rows)
    other = _best(claim.against, rows) if claim.against else None
    for wanted, row in ((claim.subject, subject), (claim.against, other)):
        if wanted is not None and row is None:
            missing = f"no {wanted.protocol} row of {wanted.models} has all {counted(len(tasks), 'task')}"
            return _verdict(claim, origin, None, UNKNOWN, missing)
    if subject is None:
        raise RuntimeError("a claim without a subject passed its schema")
    if other is None:
        return _check_interval(claim, origin, subject, rows, tasks)
    won = sum(subject.cells[task].value > other.cells[task].value for task in tasks)
    points = 100 * (subject.average - other.average)
    value = float(won) if claim.measure == "tasks_won" else points
    word = _word(claim, value)
    if claim.measure == "tasks_won" and word != FAILS and points <= 0:
        word += ", but not on average"
    evidence = (
        f"{subject.title} against {other.title}: {won} of {counted(len(tasks), 'task')}, "
        f"{100 * subject.average:.1f} against {100 * other.average:.1f} on average ({points:+.1f})"
    )
    return _verdict(claim, origin, value, word, evidence)


def _check_interval(claim: Claim, origin: str, subject: Row, rows: Sequence[Row], tasks: Sequence[str]) -> Verdict:
    rivals = [row for row in rows if row.protocol == subject.protocol and row.options is None]
    value = with_standings(rivals, tasks)[rivals.index(subject)].wins
    of_tasks = f"{value} of {counted(len(tasks), 'task')}"
    evidence = f"{subject.title} among {counted(len(rivals), f'{subject.protocol} row')}: {of_tasks}"
    return _verdict(claim, origin, float(value), _word(claim, value), evidence)


def _best(wanted: ClaimedRows, rows: Sequence[Row]) -> Row | None:
    # Results with other options than the paper's say nothing about its claims.
    own = [row for row in rows if row.protocol == wanted.protocol and row.options is None]
    return max(rows_called(wanted.models, own), key=lambda row: row.average, default=None)


def _word(claim: Claim, value: float) -> str:
    decimals = 1 if claim.measure == "average_difference" else 0
    if round(value, decimals) == round(claim.figure, decimals):
        return CONFIRMED
    return HOLDS if value > claim.holds_above else FAILS


def _verdict(claim: Claim, origin: str, value: float | None, word: str, evidence: str) -> Verdict:
    return Verdict(claim.name, claim.text, claim.where, origin, claim.figure, value, word, evidence)
