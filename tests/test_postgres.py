"""The same database tests once more on PostgreSQL, in a pytest of their own (Django has one default database)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.long_form import LONG

ROOT = Path(__file__).resolve().parent.parent
TIME_LIMIT_S = 900
WHERE = ["tests"] if LONG else ["tests/approvals", "tests/streams"]
CHOSEN = "database and not process and not browser and not one_engine"


@pytest.mark.postgres
@pytest.mark.skipif(os.environ.get("COUNTERSIGN_TEST_ENGINE") == "postgres", reason="this is that run")
def test_the_database_tests_pass_on_postgresql_too() -> None:
    if not os.environ.get("COUNTERSIGN_TEST_DATABASE_URL"):
        pytest.skip("COUNTERSIGN_TEST_DATABASE_URL is unset")
    command = [sys.executable, "-m", "pytest", "-q", "-m", CHOSEN, "--no-cov"]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", *WHERE],
        cwd=ROOT,
        env={**os.environ, "COUNTERSIGN_TEST_ENGINE": "postgres", "PYTEST_XDIST_WORKER": "postgres"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
    )
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-2000:]}"
    assert " passed" in ran.stdout
