"""Figures that a test measured, told in the summary: `figure("B1", worst=0, n=200, seed=7, unit="events lost")`."""

from collections.abc import Callable

import pytest

Figure = Callable[..., None]
PROPERTY = "figure"


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Report one row: its name, the worst value seen, of how many, with which seed."""

    def report(row: str, *, worst: object, n: int, unit: str = "", seed: object = None) -> None:
        told = f"{row:4} worst {worst} {unit}".rstrip() + f", n {n}" + ("" if seed is None else f", seed {seed}")
        record_property(PROPERTY, told)

    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of the tests that passed."""
    passed = terminalreporter.stats.get("passed", [])
    told = sorted(str(text) for report in passed for name, text in report.user_properties if name == PROPERTY)
    if told:
        terminalreporter.section("figures")
        terminalreporter.write("\n".join([*told, ""]))
