"""Tests that need a service are skipped without it, and the summary says so; `--require-services` fails instead."""

import os
from collections.abc import Iterator

import pytest


def missing(environ: dict[str, str]) -> dict[str, str]:
    """Marker -> why its tests cannot run here."""
    from dashboard import chromium  # not before coverage counts

    why = {}
    for marker, variable in (("postgres", "COUNTERSIGN_TEST_DATABASE_URL"), ("redis", "COUNTERSIGN_TEST_REDIS_URL")):
        if not environ.get(variable):
            why[marker] = f"{variable} is not set"
    if environ.get("COUNTERSIGN_TEST_FRAMEWORKS") != "1":
        why["frameworks"] = "COUNTERSIGN_TEST_FRAMEWORKS=1 is not set, which installs them"
    if chromium.find() is None:
        why["browser"] = "there is no Chromium; `python3 manage.py test` installs one where it may"
    return why


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-services", action="store_true", help="fail where a service or Chromium is missing")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = missing(dict(os.environ))
    for item in items:
        for marker in why:
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=why[marker]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if session.config.option.require_services and missing(dict(os.environ)) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name each missing service with the number of tests that were skipped for it."""
    wanted, lines = config.option.require_services, []
    for marker, reason in missing(dict(os.environ)).items():
        skipped = sum(marker in report.keywords for report in terminalreporter.stats.get("skipped", []))
        if skipped or wanted:
            lines.append(f"{marker}: {skipped} tests skipped: {reason}")
    if lines:
        terminalreporter.section("services that are missing", red=wanted, yellow=not wanted)
        terminalreporter.write("\n".join([*lines, ""]))
