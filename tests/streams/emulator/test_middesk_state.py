"""What survives of Middesk: the emulator is killed and started again on the same folder."""

import json
from pathlib import Path

import pytest

from streams.emulator.state import JOURNAL, KEEP_RUNS, State
from tests.emulator import emulator
from tests.streams.emulator.clients import MiddeskClient, row, wait_for
from tests.streams.emulator.test_middesk import BUSINESS, refusal


def test_after_a_kill_runs_threads_effects_and_what_waits_are_the_same(tmp_path: Path) -> None:
    with emulator("middesk", state=tmp_path) as first, MiddeskClient(first) as middesk:
        decided, waiting = middesk.start("tin_verification"), middesk.start("people_screening")
        middesk.resume(decided, middesk.asked(decided)["id"])
        middesk.ended(decided)
        asked = middesk.asked(waiting)["id"]
        middesk.resume(waiting, asked, "reject")
        thread = middesk.post("threads", {"type": "tin_verification", "business_id": BUSINESS}).json()
        shown, read = middesk.stream(decided), middesk.read(decided, steps=True)
        effects, pending = first.effects(), first.pending()
        assert len(pending) == 1
        first.kill()
    with emulator("middesk", state=tmp_path) as second, MiddeskClient(second) as middesk:
        assert (second.effects(), second.pending()) == (effects, pending)
        assert (middesk.stream(decided), middesk.read(decided, steps=True)) == (shown, read)
        assert middesk.http.get(f"{middesk.base}/threads/{thread['id']}").json() == thread
        assert refusal(middesk.resume(waiting, asked))[0] == 409
        assert middesk.resume(waiting, pending[0]["approval"]).status_code == 200
        assert middesk.ended(waiting)["status"] == "completed"
        assert sorted(effect["executed"] for effect in second.effects(run=waiting)) == [0, 1]


@pytest.mark.parametrize("told", range(2, 16))
def test_a_run_goes_on_from_wherever_it_was_killed(tmp_path: Path, told: int) -> None:
    """What was told stays as it was, and the story goes on, whether the process died after `told` lines or not."""
    with emulator("middesk", state=tmp_path) as first, MiddeskClient(first) as middesk:
        run = middesk.start("tin_verification")
        middesk.resume(run, middesk.asked(run)["id"])
        middesk.ended(run)
        whole = middesk.stream(run)
        first.kill()
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join(lines[:told]) + lines[told][:9])
    kept = sum(json.loads(line)["t"] == "frame" for line in lines[:told])
    with emulator("middesk", state=tmp_path) as second, MiddeskClient(second) as middesk:
        waiting = wait_for(lambda: second.pending(run=run) or row(second.runs(), run=run)["status"] == "finished")
        if waiting is not True:
            wait_for(lambda: middesk.read(run)["interrupts"])
            middesk.resume(run, waiting[0]["approval"])
        middesk.ended(run)
        again = middesk.stream(run)
        assert again[:kept] == whole[:kept]
        assert [frame.event for frame in again] == [frame.event for frame in whole]
        assert row(second.effects(), run=run)["executed"] == 1


def test_of_a_forgotten_run_the_last_snapshot_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.emulator.state.DROP_LINES", 10)
    state = State(tmp_path)
    for number in range(KEEP_RUNS + 20):
        state.start_run(kind="middesk", id=f"x{number}", scenario="tin_verification", seed=1, task="")
        for event, data in (("STATE_SNAPSHOT", "one"), ("STATE_SNAPSHOT", f"two {number}"), ("RUN_FINISHED", "")):
            state.record("frame", kind="middesk", run=f"x{number}", event=event, data=data, sync=False)
        state.record("status", kind="middesk", run=f"x{number}", status="finished", sync=False)
    state.keep("middesk", "events", "gone", {"body": "x"}, sync=False)
    state.keep("middesk", "events", "gone", None, sync=False)
    state.close()
    State(tmp_path).close()
    again = State(tmp_path)
    assert (again.runs["middesk", "x3"].view, again.runs["middesk", "x3"].forgotten) == ("two 3", True)
    assert not again.runs["middesk", "x20"].forgotten
    assert b'"thing"' not in (tmp_path / JOURNAL).read_bytes()


def test_the_events_of_a_forgotten_run_are_404_and_the_run_can_still_be_read(tmp_path: Path) -> None:
    with emulator("middesk", state=tmp_path) as first, MiddeskClient(first) as middesk:
        run = middesk.start("industry_classification")
        read = middesk.ended(run)
        first.kill()
    state = State(tmp_path)
    for number in range(KEEP_RUNS):
        state.start_run(kind="middesk", id=f"x{number}", scenario="web_presence", seed=1, task="")
        state.record("frame", kind="middesk", run=f"x{number}", event="RUN_FINISHED", data="{}", sync=False)
        state.record("status", kind="middesk", run=f"x{number}", status="finished", sync=False)
    state.close()
    with emulator("middesk", state=tmp_path) as second, MiddeskClient(second) as middesk:
        assert refusal(middesk.http.get(middesk.url(run)))[0] == 404
        assert middesk.read(run) == read
