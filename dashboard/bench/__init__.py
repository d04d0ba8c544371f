"""What this machine measures of our own hot paths, each against a baseline in the same run: `manage.py bench NAME`.

A module a bench, with `run(quick) -> Iterator[Row]`; the baselines, the ordinary way of doing it at its best settings,
are in it. Only ratios are goals: machines differ and are noisy.
"""

from collections.abc import Callable, Iterator
from importlib import import_module

from dashboard.bench.rows import Row

NAMES = ("sse", "hold", "ingest", "fanout", "e2e")


def find(name: str) -> Callable[[bool], Iterator[Row]]:
    """The bench of this name."""
    run: Callable[[bool], Iterator[Row]] = import_module(f"dashboard.bench.{name}").run
    return run
