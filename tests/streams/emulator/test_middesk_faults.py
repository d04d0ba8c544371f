"""Each named fault does on Middesk's wire what its sentence says."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.emulator import wire
from streams.emulator.faults import CATALOGUE, STREAM_FAULTS
from streams.emulator.payloads import PAYLOADS
from streams.emulator.state import sha256
from tests.emulator import emulator
from tests.streams.emulator.clients import Frame, MiddeskClient, named, row, wait_for
from tests.streams.emulator.test_middesk import BUSINESS, refusal, snapshots

QUIET = "industry_classification"
DROPPED = (httpx.ReadError, httpx.RemoteProtocolError)


def whole(middesk: MiddeskClient, run: str) -> list[Frame]:
    middesk.ended(run)
    return middesk.stream(run)


# -- the connection


def test_cut_breaks_inside_a_frame_and_the_next_connection_is_whole(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:cut=3")
    middesk.ended(run)
    data = middesk.raw(run)
    assert data.count(b"\n\n") == 3
    assert data.rpartition(b"\n\n")[2].startswith(b"event: STATE_SNAPSHOT")
    assert middesk.stream(run)[-1].event == "RUN_FINISHED"


def test_cut_bites_a_stream_that_waits_in_silence(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:interrupt-end=silent")
    with middesk.http.stream("GET", middesk.url(run)) as answer:
        chunks, data = answer.iter_raw(), b""
        while b'"status":"interrupted"' not in data:
            data += next(chunks)
        middesk.emulator.arm("cut", run=run, after=1, reset=True)
        with pytest.raises(DROPPED):
            list(chunks)


def test_stall_says_nothing_with_the_socket_open(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:stall=2")
    with pytest.raises(httpx.ReadTimeout):
        middesk.http.get(middesk.url(run), timeout=httpx.Timeout(5, read=1))
    assert middesk.stream(run)[-1].event == "RUN_FINISHED"


def test_slow_dribbles_the_same_bytes(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:slow=50,delay_ms=0*1")
    middesk.ended(run)
    assert middesk.raw(run) == middesk.raw(run)


def test_duplicate_sends_a_frame_twice(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:duplicate=2")
    twice, once = whole(middesk, run), middesk.stream(run)
    assert twice == [*once[:2], once[1], *once[2:]]


def test_oversize_sends_one_frame_of_that_size(middesk: MiddeskClient) -> None:
    frames = whole(middesk, middesk.start(f"{QUIET} fault:oversize=3000000"))
    assert frames[1].event == "STATE_SNAPSHOT"
    assert len(frames[1].data) > 2_999_000


def test_unknown_event_is_of_a_kind_that_no_page_names_and_is_replayed(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:unknown-event")
    frames = whole(middesk, run)
    assert frames[1].event == "STEP_STARTED"
    assert middesk.stream(run) == frames


@pytest.mark.parametrize("type", [QUIET, "watchlist_resolution"])
def test_missing_terminal_ends_cleanly_without_the_last_frame(middesk: MiddeskClient, type: str) -> None:
    run = middesk.start(f"{type} fault:missing-terminal")
    first = middesk.stream(run)
    assert first[-1].event == "STATE_SNAPSHOT"
    assert middesk.stream(run) == [*first, Frame("RUN_FINISHED", json.dumps({"run_id": run}, separators=(",", ":")))]


def test_keepalive_sends_comments_in_the_silence(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:interrupt-end=silent fault:keepalive=0.01")
    with middesk.http.stream("GET", middesk.url(run)) as answer:
        chunks, data = answer.iter_raw(), b""
        while data.count(b": keepalive\r\n\r\n") < 3:
            data += next(chunks)
    assert b'"status":"interrupted"' in data


@pytest.mark.parametrize(("style", "end"), [("cr", b"\r\r"), ("crlf", b"\r\n\r\n")])
def test_line_end_changes_every_line(middesk: MiddeskClient, style: str, end: bytes) -> None:
    data = middesk.raw(middesk.start(f"{QUIET} fault:line-end={style}"))
    assert data.endswith(end)
    assert data.replace(b"\r\n", b"\r").count(b"\n") == 0


# -- the answer to a request


@pytest.mark.parametrize("on", ["start", "stream", "decision", "read"])
def test_status_answers_in_place_of_the_right_answer(middesk: MiddeskClient, on: str) -> None:
    body = {"type": f"document_collection fault:status=429,on={on},retry_after=3", "business_id": BUSINESS}
    answer = middesk.post("runs", body)
    if on == "start":
        refused, answer = answer, middesk.post("runs", body)
    run = answer.json()["id"]
    if on == "read":
        refused = middesk.http.get(f"{middesk.base}/runs/{run}")
    asked = middesk.asked(run)["id"]
    if on == "stream":
        refused = middesk.http.get(middesk.url(run))
    if on == "decision":
        refused = middesk.resume(run, asked)
        assert middesk.emulator.pending(run=run)
    assert refusal(refused) == (429, "")
    assert refused.headers["retry-after"] == "3"
    assert middesk.stream(run)
    assert middesk.resume(run, asked).status_code == 200


def test_redirect_answers_a_location(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:redirect=http://other.example/x,on=stream,code=302")
    answer = middesk.http.get(middesk.url(run))
    assert (answer.status_code, answer.headers["location"]) == (302, "http://other.example/x")


def test_wrong_type_is_a_web_page(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:wrong-type,on=stream")
    answer = middesk.http.get(middesk.url(run))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_effect_then_drop_acts_and_loses_the_answer(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:effect-then-drop")
    asked = middesk.asked(run)["id"]
    with pytest.raises(DROPPED):
        middesk.resume(run, asked)
    assert row(middesk.emulator.effects(), run=run)["executed"] == 1
    assert middesk.read(run)["interrupts"] == []
    assert middesk.ended(run)["status"] == "completed"


def test_effect_then_drop_can_answer_an_error_instead(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:effect-then-drop=500")
    assert refusal(middesk.resume(run, middesk.asked(run)["id"], "reject")) == (500, "")
    assert row(middesk.emulator.effects(), run=run)["skipped"] == 1


def test_effect_then_drop_on_a_start_leaves_a_run_that_nobody_knows(middesk: MiddeskClient) -> None:
    type = "web_presence fault:effect-then-drop,on=start"
    with pytest.raises(DROPPED):
        middesk.start(type)
    assert middesk.emulator.runs(task=type)


def test_drop_before_effect_does_nothing(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:drop-before-effect")
    asked = middesk.asked(run)["id"]
    with pytest.raises(DROPPED):
        middesk.resume(run, asked)
    effect = row(middesk.emulator.effects(), run=run)
    assert (effect["approve"], effect["executed"]) == (1, 0)
    assert middesk.read(run)["status"] == "interrupted"
    assert middesk.resume(run, asked).status_code == 200


# -- replay and retention


def test_replay_all_lifts_replay_tail_once(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:replay-all*1 fault:replay-tail")
    frames = whole(middesk, run)
    assert middesk.stream(run) == frames
    assert middesk.stream(run) == []


def test_replay_overlap_gives_the_last_frames_again(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:replay-overlap=2")
    assert whole(middesk, run)[-2:] == middesk.stream(run)


def test_replay_none_ends_at_once(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:replay-none")
    frames = whole(middesk, run)
    assert [middesk.stream(run), middesk.stream(run)] == [[], frames]


def test_replay_divergent_changes_one_frame(middesk: MiddeskClient) -> None:
    run = middesk.start(f"{QUIET} fault:replay-divergent=2")
    first, second = whole(middesk, run), middesk.stream(run)
    assert [index for index, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]] == [1]


@pytest.mark.parametrize(("how", "events"), [("eof", []), ("done", ["RUN_FINISHED"]), ("404", None)])
def test_after_done_the_events_are_gone_and_the_run_can_still_be_read(
    middesk: MiddeskClient, how: str, events: list[str] | None
) -> None:
    run = middesk.start(f"{QUIET} fault:after-done={how}")
    assert middesk.ended(run)["status"] == "completed"
    if events is None:
        assert refusal(middesk.http.get(middesk.url(run)))[0] == 404
    else:
        assert named(middesk.stream(run)) == events
    assert middesk.read(run, steps=True)["steps"]


# -- how an interrupted stream ends


def test_interrupt_end_silent_stays_open_and_goes_on_after_the_answer(middesk: MiddeskClient) -> None:
    run, frames = middesk.start("tin_verification fault:interrupt-end=silent"), []
    for frame in middesk.follow(run):
        frames.append(frame)
        if frame.event == "STATE_SNAPSHOT" and frame.json()["snapshot"]["status"] == "interrupted":
            (interrupt,) = frame.json()["snapshot"]["interrupts"]
            assert middesk.resume(run, interrupt["id"]).status_code == 200
    assert (named(frames).count("RUN_STARTED"), named(frames).count("RUN_FINISHED")) == (1, 1)
    assert frames[-2].json()["snapshot"]["status"] == "completed"
    assert middesk.stream(run) == frames


def test_interrupt_end_eof_closes_without_run_finished(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:interrupt-end=eof")
    before = middesk.stream(run)
    assert "RUN_FINISHED" not in named(before)
    assert snapshots(before)[-1]["status"] == "interrupted"
    middesk.resume(run, middesk.asked(run)["id"])
    after = middesk.stream(run)
    assert after[: len(before)] == before
    assert named(after).count("RUN_FINISHED") == 1


def test_interrupt_end_once_leaves_its_run_finished_out_of_the_replay(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:interrupt-end=once")
    before = middesk.stream(run)
    assert before[-1].event == "RUN_FINISHED"
    assert middesk.stream(run) == before
    middesk.resume(run, middesk.asked(run)["id"])
    after = middesk.stream(run)
    assert (named(after).count("RUN_STARTED"), named(after).count("RUN_FINISHED")) == (1, 1)
    assert after[: len(before) - 1] == before[:-1]
    assert after[-1].event == "RUN_FINISHED"


def test_error_event_ends_a_failed_run_in_run_error(middesk: MiddeskClient) -> None:
    frames = whole(middesk, middesk.start("registry_search fault:error-event"))
    assert "RUN_FINISHED" not in named(frames)
    assert frames[-1].event == "RUN_ERROR"
    assert "did not answer" in frames[-1].json()["message"]


# -- what is asked


@pytest.mark.parametrize("form", PAYLOADS)
def test_a_payload_goes_out_as_it_is_and_is_hashed_so(middesk: MiddeskClient, form: str) -> None:
    text = PAYLOADS[form]()
    run = middesk.start(f"tin_verification fault:payload={form}")
    data = middesk.stream(run)[-2].data
    asked = row(middesk.emulator.pending(), run=run)
    assert f'{{"id":"{asked["approval"]}","value":{text},"agent":"tin_verification"}}' in data
    assert asked["input_sha256"] == sha256(text)
    assert f'"value":{text},' in middesk.http.get(f"{middesk.base}/runs/{run}").text


def test_changed_input_is_another_value_under_the_same_id(middesk: MiddeskClient) -> None:
    run = middesk.start()
    asked, before = middesk.asked(run), middesk.stream(run)
    hashed = row(middesk.emulator.pending(), run=run)["input_sha256"]
    middesk.emulator.arm("changed-input", run=run)
    wait_for(lambda: middesk.asked(run) != asked)
    changed = middesk.asked(run)
    assert (changed["id"], "changed" in changed["value"]) == (asked["id"], True)
    frames = middesk.stream(run)
    assert frames[: len(before)] == before
    assert named(frames)[len(before) :] == ["RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED"]
    assert snapshots(frames)[-1]["interrupts"] == [changed]
    assert row(middesk.emulator.pending(), run=run)["input_sha256"] != hashed
    assert middesk.resume(run, asked["id"]).status_code == 200
    assert middesk.ended(run)["status"] == "completed"


@pytest.mark.parametrize(("how", "words"), [("approve", "is verified"), ("reject", "stays unverified")])
def test_resolved_outside_is_an_interrupt_that_disappears_without_us(
    middesk: MiddeskClient, how: str, words: str
) -> None:
    run = middesk.start("tin_verification")
    asked = middesk.asked(run)["id"]
    middesk.emulator.arm("resolved-outside", run=run, how=how)
    assert words in middesk.ended(run)["output"]["artifacts"][0]["summary"]
    effect = row(middesk.emulator.effects(), run=run)
    assert [effect[key] for key in ("approve", "reject", "executed", "skipped")] == [0, 0, 0, 0]
    assert refusal(middesk.resume(run, asked)) == (409, "interrupt_id")


def test_resolved_outside_can_be_one_of_two(middesk: MiddeskClient) -> None:
    run = middesk.start("people_screening fault:resolved-outside=reject")
    (left,) = wait_for(lambda: i if len(i := middesk.read(run)["interrupts"]) == 1 else [])
    middesk.resume(run, left["id"])
    assert middesk.ended(run)["output"]["artifacts"][0]["summary"].startswith("1 of 2")


# -- other words


def _values(run: dict[str, Any]) -> list[Any]:
    return [interrupt["value"] for interrupt in run["interrupts"]]


def test_respelled_reading_has_the_same_value_in_another_spelling(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:respelled")
    snapshot = snapshots(middesk.stream(run))[-1]
    read = middesk.http.get(f"{middesk.base}/runs/{run}")
    assert _values(read.json()) == _values(snapshot)
    text = read.text[read.text.index('"value":') :]
    assert sha256(text) != row(middesk.emulator.pending(), run=run)["input_sha256"]
    assert '"agent" : "tin_verification"' in text


@pytest.mark.parametrize(
    ("words", "running", "failed"), [("old", "pending", "failed"), ("unknown", "reviewing", "error")]
)
def test_vocabulary_says_statuses_in_other_words(middesk: MiddeskClient, words: str, running: str, failed: str) -> None:
    run = middesk.start(f"registry_search fault:vocabulary={words}")
    wait_for(lambda: middesk.read(run)["status"] == failed)
    shown = snapshots(middesk.stream(run))
    assert {snapshot["status"] for snapshot in shown} == {running, failed}
    assert all(("graph" in step) == (words == "old") for step in shown[-1]["steps"])
    assert {step["status"] for step in shown[-1]["steps"]} == {"completed", "error"}


@pytest.mark.parametrize(
    ("style", "keys"),
    [("snake", {"type", "run_id", "thread_id", "timestamp"}), ("camel", {"type", "runId", "threadId", "timestamp"})],
)
def test_event_fields_puts_more_into_each_event(middesk: MiddeskClient, style: str, keys: set[str]) -> None:
    frames = whole(middesk, middesk.start(f"{QUIET} fault:event-fields={style}"))
    assert all(set(frame.json()) - {"snapshot"} == keys for frame in frames)
    assert all(frame.json()["type"] == frame.event for frame in frames)


def test_snapshot_shape_can_be_less_than_a_run(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:snapshot-shape=steps-only")
    assert all(set(snapshot) == {"steps", "artifacts"} for snapshot in snapshots(middesk.stream(run)))
    other = middesk.start("tin_verification fault:snapshot-shape=no-interrupts")
    last = snapshots(middesk.stream(other))[-1]
    assert ("interrupts" in last, last["steps"][-1]["type"]) == (False, "interrupt")
    assert middesk.read(run)["interrupts"]
    assert middesk.read(other)["interrupts"]


# -- how answers are taken


@pytest.mark.parametrize(("how", "executed"), [("ok", 1), ("acts", 2)])
def test_repeat_forgives_a_second_answer(middesk: MiddeskClient, how: str, executed: int) -> None:
    run = middesk.start(f"tin_verification fault:repeat={how}")
    asked = middesk.asked(run)["id"]
    assert [middesk.resume(run, asked).status_code for _ in range(2)] == [200, 200]
    assert row(middesk.emulator.effects(), run=run)["executed"] == executed


def test_slow_readback_shows_the_interrupt_after_its_answer(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:slow-readback=60")
    asked = middesk.asked(run)
    assert middesk.resume(run, asked["id"]).json()["interrupts"] == []
    assert middesk.read(run)["interrupts"] == [asked]
    assert row(middesk.emulator.effects(), run=run)["executed"] == 1


def test_slow_readback_ends_after_its_seconds(middesk: MiddeskClient) -> None:
    run = middesk.start("tin_verification fault:slow-readback=0.05")
    middesk.resume(run, middesk.asked(run)["id"])
    assert middesk.ended(run)["interrupts"] == []


@pytest.mark.parametrize("shape", ["id", "list"])
def test_resume_shape_takes_another_body_only(middesk: MiddeskClient, shape: str) -> None:
    run = middesk.start(f"tin_verification fault:resume-shape={shape}")
    asked = middesk.asked(run)["id"]
    assert refusal(middesk.resume(run, asked)) == (422, "id")
    one = {"id": asked, "input": {"decision": "approve"}}
    body = one if shape == "id" else {"interrupts": [one]}
    assert middesk.post(f"runs/{run}/resume", body).status_code == 200
    assert row(middesk.emulator.effects(), run=run)["executed"] == 1


def test_an_armed_fault_bites_on_middesk_only_where_it_says() -> None:
    with emulator() as own, MiddeskClient(own) as client:
        own.arm("status", times=1, on="start", kind="mindra", code=500)
        assert client.start(QUIET)
        own.arm("status", times=1, on="start", kind="middesk", code=500)
        body = {"type": QUIET, "business_id": BUSINESS}
        assert [client.post("runs", body).status_code for _ in range(2)] == [500, 201]


def test_every_fault_that_this_wire_looks_for_has_a_test() -> None:
    package = Path(wire.__file__).parent
    source = "".join(path.read_text() for path in package.glob("middesk*.py"))
    shared = re.findall(r'(?:take\(run, |take\()"([a-z-]+)"', Path(wire.__file__).read_text())
    looked_for = {name for name in CATALOGUE if f'"{name}"' in source} | {*STREAM_FAULTS, *shared}
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_middesk*.py"))
    assert len(looked_for) > 30
    assert not [name for name in looked_for if f"fault:{name}" not in tests and f'arm("{name}"' not in tests]
