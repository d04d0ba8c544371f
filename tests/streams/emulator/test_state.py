"""What survives: the emulator is killed and started again on the same folder."""

import json
import os
import socket
from pathlib import Path

import pytest

from streams.emulator.cli import CannotStart, hold
from streams.emulator.state import JOURNAL, KEEP_RUNS, State
from tests.emulator import emulator
from tests.streams.emulator.clients import AgUiClient, MindraClient, Thread, row, wait_for


def test_after_a_kill_the_effects_and_what_waits_are_the_same(tmp_path: Path) -> None:
    thread, batch = Thread(), Thread()
    with emulator(state=tmp_path) as first:
        with MindraClient(first) as mindra, AgUiClient(first) as agui:
            decided, waiting = mindra.start(), mindra.start(workflow="account-deletion")
            mindra.decide(decided, mindra.asked(decided)["approval"], "approve")
            shown = mindra.stream(decided)
            wait_for(lambda: len(first.pending(run=waiting)) == 2)
            agui.start("outbound-email", thread)
            agui.start("account-deletion", batch)
            mindra.decide(waiting, first.pending(run=waiting)[0]["approval"], "reject")
        effects, pending, address = first.effects(), first.pending(), first.url
        assert len(pending) == 4
        first.kill()
    with emulator(state=tmp_path) as second:
        assert second.url == address
        assert (second.effects(), second.pending()) == (effects, pending)
        with MindraClient(second) as mindra, AgUiClient(second) as agui:
            assert mindra.stream(decided) == shown
            (left,) = second.pending(run=waiting)
            assert mindra.decide(waiting, left["approval"], "approve").status_code == 200
            frames = mindra.stream(waiting)
            assert [f.event for f in frames].count("approval_request") == 2
            assert [f.json()["tool_name"] for f in frames if f.event == "tool_executing"] == [left["tool"]]
            assert frames[-1].event == "done"
            agui.answer(thread, {"approved": True})
            agui.answer(batch, {"approved": True}, {"approved": False})
        assert not second.pending()
        assert all(effect["executed"] + effect["skipped"] == 1 for effect in second.effects())


@pytest.mark.parametrize("told", range(1, 14))
def test_a_run_goes_on_from_wherever_it_was_killed(tmp_path: Path, told: int) -> None:
    """The story is the same, frame for frame, whether or not the process died after `told` lines of the file."""
    with emulator(state=tmp_path) as first, MindraClient(first) as mindra:
        run = mindra.start()
        mindra.decide(run, mindra.asked(run)["approval"], "approve")
        whole = mindra.stream(run)
        first.kill()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:told]) + lines[told][:9])
    with emulator(state=tmp_path) as second, MindraClient(second) as mindra:
        waiting = wait_for(lambda: second.pending(run=run) or row(second.runs(), run=run)["status"] == "finished")
        if waiting is not True:
            mindra.decide(run, waiting[0]["approval"], "approve")
        assert mindra.stream(run) == whole
        assert row(second.effects(), run=run)["executed"] == 1


def test_what_a_fault_used_up_stays_used_up(tmp_path: Path) -> None:
    with emulator(state=tmp_path) as first, MindraClient(first) as mindra:
        run = mindra.start("fault:drop-before-effect,on=stream*2")
        assert mindra.raw(run) == b""
        first.kill()
    with emulator(state=tmp_path) as second, MindraClient(second) as mindra:
        assert mindra.raw(run) == b""
        assert mindra.stream(run, until="approval_request")


def test_a_torn_last_line_is_left_out_and_a_broken_one_before_it_stops_the_start(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.start_run(kind="agui", id="r1", scenario="refund", seed=1, task="", thread="t")
    state.close()
    journal = tmp_path / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"t":"status","kind"')
    again = State(tmp_path)
    assert list(again.runs) == [("agui", "r1")]
    again.record("status", kind="agui", run="r1", status="finished")
    again.close()
    assert State(tmp_path).runs["agui", "r1"].status == "finished"
    journal.write_bytes(b"{\n" + journal.read_bytes())
    with pytest.raises(ValueError, match="line 1 is broken"):
        State(tmp_path)


def test_frames_of_old_runs_are_forgotten_and_leave_the_file_once_they_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.emulator.state.DROP_LINES", 10)
    state = State(tmp_path)
    for number in range(KEEP_RUNS + 20):
        run = state.start_run(kind="mindra", id=f"x{number}", scenario="refund", seed=1, task="")
        state.record("frame", kind="mindra", run=run.id, event="done", data="{}", sync=False)
        state.record("status", kind="mindra", run=run.id, status="finished", sync=False)
    assert state.runs["mindra", "x19"].forgotten
    assert not state.runs["mindra", "x20"].forgotten
    state.close()
    State(tmp_path).close()
    records = [json.loads(line) for line in (tmp_path / JOURNAL).read_bytes().splitlines()]
    assert sum(record["t"] == "frame" for record in records) == KEEP_RUNS
    assert sum(record["t"] == "run" for record in records) == KEEP_RUNS + 20


def test_another_port_is_taken_where_the_last_one_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "port").write_text(f"{port}\n")
        with emulator(state=tmp_path) as running:
            assert running.port != port
            assert (tmp_path / "port").read_text() == f"{running.port}\n"


def test_a_folder_belongs_to_one_emulator_and_is_free_once_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.emulator.cli.LOCK_WAIT_S", 0.05)
    with emulator(state=tmp_path), pytest.raises(CannotStart, match="another emulator uses"):
        hold(tmp_path)
    os.close(hold(tmp_path))
