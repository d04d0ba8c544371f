"""Fault points: off they do nothing, on they do what the plan says, and the code calls only those that are listed."""

import ast
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import ERROR
from django.core.checks.registry import registry

from dashboard import fault_points
from streams import faults
from streams.faults import Fault, fault

ROOT = Path(__file__).resolve().parent.parent.parent
CODE = ("streams", "approvals", "dashboard")


def run(plans: str, code: str) -> "subprocess.CompletedProcess[str]":
    before = f"from streams import faults; from streams.faults import fault; faults.switch_on(faults.read({plans!r}))"
    command = [sys.executable, "-c", f"{before}\n{code}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def come_by(name: str, times: int) -> None:
    for _ in range(times):
        fault(name)


def test_a_point_that_is_off_does_nothing_whatever_its_name() -> None:
    assert not faults.is_on()
    fault("journal.committed")
    fault("not even a point")


def test_a_point_that_is_on_must_be_listed() -> None:
    with faults.on(), pytest.raises(LookupError, match="no such fault point: stream.lost"):
        fault("stream.lost")


def test_every_hit_is_counted_and_nothing_else_happens_without_a_plan() -> None:
    with faults.on() as hits:
        for name in ("journal.batch", "journal.committed", "journal.batch"):
            fault(name)
    assert hits == Counter({"journal.batch": 2, "journal.committed": 1})
    fault("journal.batch")
    assert hits.total() == 3, "off again behind the block"


def test_a_block_that_fails_leaves_nothing_on() -> None:
    with pytest.raises(Fault), faults.on("journal.batch:raise"):
        fault("journal.batch")
    assert not faults.is_on()


def test_only_the_hit_that_was_named_fails() -> None:
    with faults.on("outbox.claimed:raise@3"):
        fault("outbox.claimed")
        fault("outbox.claimed")
        with pytest.raises(Fault, match=r"outbox\.claimed"):
            fault("outbox.claimed")
        fault("outbox.claimed")


def test_without_a_number_every_hit_fails_and_other_points_do_not() -> None:
    with faults.on("outbox.claimed:raise"):
        fault("outbox.marking")
        for _ in range(2):
            with pytest.raises(Fault):
                fault("outbox.claimed")


def test_hits_of_all_threads_are_one_count() -> None:
    with faults.on() as hits:
        threads = [threading.Thread(target=come_by, args=("stream.read", 500)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert hits["stream.read"] == 2_000


@pytest.mark.parametrize(("action", "code"), [("kill", -signal.SIGKILL), ("exit", faults.DEAD)])
def test_a_process_dies_at_its_point_and_nothing_behind_it_runs(action: str, code: int) -> None:
    done = run(
        f"outbox.marking:{action}@2",
        "import atexit; atexit.register(print, 'end', flush=True)\n"
        "for number in range(3): fault('outbox.marking'); print(number, flush=True)",
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "0\n", "")


def test_a_delay_waits_and_a_note_is_a_line_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hits"
    with faults.on(f"stream.read:delay=0.01, *:note={file}"):
        fault("stream.read")
        fault("hub.heard")
    assert file.read_text().split() == ["stream.read", "hub.heard"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("journal.lost:raise", "no such fault point"),
        ("journal.batch", "an action is"),
        ("journal.batch:burn", "an action is"),
        ("journal.batch:raise=1", "an action is"),
        ("journal.batch:delay=soon", "an action is"),
        ("journal.batch:note=", "an action is"),
        ("journal.batch:raise@0", "from 1"),
        ("journal.batch:raise@x", "from 1"),
        ("journal.batch:raise@", "from 1"),
    ],
)
def test_a_plan_that_cannot_be_read_is_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        faults.read(f"hub.heard:kill, {text}")
    assert repr(text) in str(refused.value)


# --- the code and the list ------------------------------------------------------------------------------------------


def calls() -> Counter[str]:
    """Every name that the code gives to fault(), with the number of its places."""
    found: Counter[str] = Counter()
    for path in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called != "fault":
                continue
            [name] = node.args
            assert isinstance(name, ast.Constant) and isinstance(name.value, str), (path, node.lineno)
            found[name.value] += 1
    return found


def test_the_code_calls_every_point_once_and_none_that_is_not_listed() -> None:
    assert calls() == Counter(dict.fromkeys(faults.points(), 1))


def test_every_point_says_what_is_true_at_its_moment() -> None:
    assert all(words.endswith(".") and len(words) > 20 for words in faults.points().values())


# --- never in production --------------------------------------------------------------------------------------------


def manage(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("COUNTERSIGN", "DATABASE", "REDIS"))
    }
    keys = {"COUNTERSIGN_SECRET_KEY": "x" * 20 + "abcdefghijklmnopqrstuvwxyz0123456789", "COUNTERSIGN_BOOTSTRAP": "0"}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env={**kept, **keys, **env}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("origin", ["https://approvals.example.org", "http://approvals.example.org"])
def test_a_site_that_others_can_reach_does_not_start_with_them(tmp_path: Path, origin: str) -> None:
    env = {"COUNTERSIGN_DATA_DIR": str(tmp_path), "COUNTERSIGN_ORIGINS": origin}
    done = manage("check", **env, COUNTERSIGN_FAULTS="hub.heard:raise")
    assert done.returncode != 0
    assert "COUNTERSIGN_FAULTS: it is for tests alone" in done.stderr


def test_a_plan_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    done = manage("check", COUNTERSIGN_DATA_DIR=str(tmp_path), COUNTERSIGN_FAULTS="hub.heard")
    assert done.returncode != 0
    assert "COUNTERSIGN_FAULTS: 'hub.heard'" in done.stderr


def test_the_deployment_check_fails_with_them(settings: Any) -> None:
    assert settings.FAULTS == [], "nothing is on by itself"
    assert fault_points.off in registry.get_checks(include_deployment_checks=True)
    assert fault_points.off(None) == []
    with faults.on():
        assert [found.id for found in fault_points.off(None)] == ["dashboard.E001"]
    settings.FAULTS = faults.read("hub.heard:raise")
    [found] = fault_points.off(None)
    assert found.level == ERROR and "COUNTERSIGN_FAULTS" in found.msg
