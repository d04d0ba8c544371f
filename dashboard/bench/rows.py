"""A measured row: the value, what it is compared with, and whether that is good enough."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

QUICK_SLACK = 0.7
QUICK_TRIES = int(os.environ.get("COUNTERSIGN_BENCH_TRIES", "3"))


@dataclass(frozen=True, slots=True)
class Row:
    """One printed line. `goal` is of the ratio where there is one, else of the value; None: only reported."""

    bench: str
    row: str
    value: float
    unit: str
    baseline: float | None
    ratio: float | None
    goal: float | None
    ok: bool
    n: int
    load: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))
    note: str = ""


def judged(
    bench: str, row: str, value: float, unit: str, *, n: int, baseline: float | None = None,
    ratio: float | None = None, at_least: float | None = None, at_most: float | None = None, quick: bool = False,
    note: str = "",
) -> Row:  # fmt: skip
    """A row with its verdict; a quick one is judged at 0.7 of its goal."""
    goal, slack = at_least if at_least is not None else at_most, QUICK_SLACK if quick else 1.0
    measured = value if ratio is None else ratio
    ok = goal is None or (measured >= goal * slack if at_least is not None else measured <= goal / slack)
    return Row(bench, row, value, unit, baseline, ratio, goal, ok, n, note=note)


def repeated(benches: list[Callable[[], Iterator[Row]]], *, quick: bool) -> Iterator[Row]:
    """The rows of each; a quick one that is not good enough may be measured twice more."""
    for bench in benches:
        rows = list(bench())
        for _ in range(QUICK_TRIES - 1 if quick else 0):
            if all(row.ok for row in rows):
                break
            rows = list(bench())
        yield from rows


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def medians(rounds: int, *runs: Callable[[], object]) -> list[float]:
    """The median seconds of each, taken in turns."""
    taken = [[seconds(run) for run in runs] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]
