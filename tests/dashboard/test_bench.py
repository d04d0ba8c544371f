"""The benches run, tell their rows as they promise, and fail where a row misses its goal."""

import json
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from dashboard import bench
from dashboard.bench import rows
from dashboard.bench.rows import Row, judged, repeated
from tests.countersign import unmeasured

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
SLOW = ("e2e", "fanout", "hold")
KEYS = ["bench", "row", "value", "unit", "baseline", "ratio", "goal", "ok", "n", "load", "note"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in SLOW else []) for name in bench.NAMES]
)
@pytest.mark.process
def test_a_quick_bench_tells_json_lines_and_loses_nothing(name: str) -> None:
    """Whether a quick ratio is good enough depends on who else uses the machine: a test does not judge it."""
    env = unmeasured() | {"COUNTERSIGN_BENCH_TRIES": "1", "COUNTERSIGN_BOOTSTRAP": "0"}
    command = [sys.executable, "manage.py", "bench", name, "--quick", "--json"]
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    assert ran.returncode in (0, 1) and "Traceback" not in ran.stderr, ran.stderr[-2000:]  # noqa: PT018
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert lines, ran.stderr[-2000:]
    assert all(list(line) == KEYS and line["bench"] == name for line in lines)
    assert any(line["goal"] is not None and line["n"] for line in lines)


def test_a_missed_goal_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    missed = [judged("sse", "P1", 1.0, "ratio", n=1, ratio=1.0, at_least=2.5)]
    monkeypatch.setattr(bench, "find", lambda name: lambda quick: iter(missed))
    told, errors = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("bench", "sse", stdout=told, stderr=errors)
    assert ended.value.code == 1
    assert "MISSED" in told.getvalue()
    assert "missed: P1" in errors.getvalue()


@pytest.mark.parametrize(("quick", "ok"), [(False, False), (True, True)])
def test_a_quick_row_is_judged_more_gently(quick: bool, ok: bool) -> None:
    assert judged("x", "P1", 0.0, "", n=1, ratio=2.0, at_least=2.5, quick=quick).ok is ok
    assert judged("x", "P4", 0.0, "", n=1, ratio=1.5, at_most=1.3, quick=quick).ok is ok


def test_a_quick_row_that_misses_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "QUICK_TRIES", 3)
    ratios = iter([1.0, 1.0, 3.0])

    def measure() -> Iterator[Row]:
        yield judged("x", "P1", 0.0, "", n=1, ratio=next(ratios), at_least=2.5, quick=True)

    assert [row.ok for row in repeated([measure], quick=True)] == [True]
    assert next(ratios, None) is None
