"""Each named fault does what its sentence says."""

import json
from collections.abc import Iterator

import httpx
import pytest

from streams.emulator.faults import CATALOGUE, UnknownFault, in_text, make
from streams.emulator.payloads import PAYLOADS
from streams.emulator.state import sha256
from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import AgUiClient, Frame, MindraClient, Thread, kinds, named, row, wait_for

# -- naming and arming


def test_faults_in_a_text_are_read_with_values_parameters_and_times() -> None:
    first, second, third = in_text(
        "please fault:cut=3 and fault:status=429,on=decision,retry_after=7*2, fault:repeat*all"
    )
    assert (first.name, first.params["after"], first.left) == ("cut", 3, 1)
    assert (second.params["code"], second.params["retry_after"], second.on, second.left) == (429, "7", "decision", 2)
    assert (third.name, third.left) == ("repeat", None)


@pytest.mark.parametrize(
    "spec",
    [{}, {"fault": "no"}, {"fault": "cut", "x": 1}, {"fault": "cut", "times": "2"}, {"fault": "repeat", "how": "x"}],
)
def test_a_fault_that_is_not_in_the_catalogue_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(UnknownFault):
        make(spec)


def test_the_catalogue_says_a_sentence_for_each_and_lists_what_is_armed(shared: Emulator) -> None:
    with httpx.Client(base_url=shared.url, trust_env=False, verify=False) as http:
        shared.arm("cut", run="exec_of_nobody", after=5, times=2)
        listed = http.get("/_faults").json()
        assert {fault["fault"] for fault in listed["faults"]} == set(CATALOGUE)
        assert all(fault["says"].endswith(".") for fault in listed["faults"])
        armed = row(listed["armed"], run="exec_of_nobody")
        assert (armed["fault"], armed["after"], armed["times"]) == ("cut", 5, 2)
        shared.disarm()
        assert not http.get("/_faults").json()["armed"]
        assert http.post("/_faults", json={"fault": "none such"}).status_code == 422
        assert http.post("/_faults", content=b"[").status_code == 422


def test_an_armed_fault_bites_as_often_as_it_says_and_only_where(agui: AgUiClient) -> None:
    with emulator() as own, MindraClient(own) as client:
        own.arm("status", times=2, on="start", kind="mindra", code=500)
        url = f"{own.mindra}/v1/workflows/refund/run"
        with AgUiClient(own) as other:
            assert other.start("status-summary").events
        assert [client.http.post(url, json={"task": "x"}).status_code for _ in range(3)] == [500, 500, 200]


# -- the connection


def test_cut_breaks_inside_the_frame_after_so_many(mindra: MindraClient) -> None:
    run = mindra.start("fault:cut=3", "status-summary")
    with mindra.http.stream("GET", mindra.url(run)) as answer, pytest.raises(httpx.RemoteProtocolError):
        data = b""
        for chunk in answer.iter_raw():
            data += chunk
    assert data.count(b"\n\n") == 3
    assert data.rpartition(b"\n\n")[2].startswith(b"event: ")
    assert mindra.stream(run)[-1].event == "done"


@pytest.mark.parametrize("size", [1, 10, 100, 333])
def test_cut_breaks_after_so_many_bytes(mindra: MindraClient, size: int) -> None:
    run = mindra.start(f"fault:cut,bytes={size}", "quarterly-report")
    assert len(mindra.raw(run)) == size


def test_cut_can_be_a_reset(mindra: MindraClient) -> None:
    run = mindra.start("fault:cut=1,reset=true", "status-summary")
    with pytest.raises(httpx.ReadError), mindra.http.stream("GET", mindra.url(run)) as answer:
        list(answer.iter_raw())


def test_a_cut_armed_while_the_stream_waits_bites_at_once(mindra: MindraClient) -> None:
    run = mindra.start()
    with mindra.http.stream("GET", mindra.url(run)) as answer:
        chunks = answer.iter_raw()
        data = b""
        while b"approval_request" not in data:
            data += next(chunks)
        mindra.emulator.arm("cut", run=run, after=1)
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)


def test_a_cut_ag_ui_run_asks_nobody(agui: AgUiClient) -> None:
    thread = Thread()
    thread.messages.append({"id": "m", "role": "user", "content": "outbound-email fault:cut=6"})
    assert len(agui.broken(thread)) == 6
    assert wait_for(lambda: agui.emulator.runs(run=thread.run, status="dropped"))
    assert not agui.emulator.pending(thread=thread.id)


def test_stall_says_nothing_with_the_socket_open(mindra: MindraClient) -> None:
    run = mindra.start("fault:stall=2", "status-summary")
    frames = mindra.follow(run)
    assert [next(frames).event for _ in range(2)] == ["chunk", "chunk"]
    mindra.http.timeout = httpx.Timeout(5, read=0.2)
    with pytest.raises(httpx.ReadTimeout):
        mindra.stream(mindra.start("fault:stall=0", "status-summary"))
    frames.close()
    assert mindra.stream(run)[-1].event == "done"


def test_a_stall_ends_after_its_seconds(mindra: MindraClient) -> None:
    run = mindra.start("fault:stall=2,seconds=0.1", "status-summary")
    assert mindra.stream(run)[-1].event == "done"


def test_slow_dribbles_the_same_bytes(mindra: MindraClient) -> None:
    run = mindra.start("fault:slow=3,delay_ms=0", "status-summary")
    with mindra.http.stream("GET", mindra.url(run)) as answer:
        data = b"".join(answer.iter_raw(chunk_size=None))
    assert data.count(b"\n\n") == len(mindra.stream(run))


def test_duplicate_sends_a_frame_twice(mindra: MindraClient) -> None:
    run = mindra.start("fault:duplicate=2", "status-summary")
    twice = mindra.stream(run)
    once = mindra.stream(run)
    assert twice == [*once[:2], once[1], *once[2:]]


def test_oversize_sends_one_frame_of_that_size(mindra: MindraClient, agui: AgUiClient) -> None:
    frames = mindra.stream(mindra.start("fault:oversize=3000000", "status-summary"))
    assert len(frames[1].data) > 2_999_000
    events = agui.start("status-summary fault:oversize=3000000").events
    assert (events[1]["type"], len(events[1]["value"]) > 2_999_000) == ("CUSTOM", True)


def test_unknown_event_is_of_a_kind_that_no_page_names_and_is_replayed(mindra: MindraClient, agui: AgUiClient) -> None:
    run = mindra.start("fault:unknown-event", "status-summary")
    first = mindra.stream(run)
    assert named(first)[1] == "telemetry"
    assert mindra.stream(run) == first
    assert kinds(agui.start("status-summary fault:unknown-event").events)[1] == "TELEMETRY_TICK"


def test_missing_terminal_ends_cleanly_without_the_last_frame(mindra: MindraClient, agui: AgUiClient) -> None:
    run = mindra.start("fault:missing-terminal", "status-summary")
    assert mindra.stream(run)[-1].event == "chunk"
    assert mindra.stream(run)[-1].event == "done"
    thread = agui.start("outbound-email fault:missing-terminal")
    assert thread.events[-1]["type"] == "MESSAGES_SNAPSHOT"
    assert wait_for(lambda: not agui.emulator.pending(thread=thread.id))  # seen a moment after EOF


def test_keepalive_sends_comments_while_the_run_waits(mindra: MindraClient) -> None:
    run = mindra.start("fault:keepalive=0.01")
    data = mindra.raw(run, enough=lambda data: data.count(b": keepalive\r\n\r\n") >= 3)
    assert b"approval_request" in data
    assert data.count(b": keepalive\r\n\r\n") >= 3


def test_keepalive_sends_comments_while_an_ag_ui_tool_works() -> None:
    with emulator(pace="real") as own, AgUiClient(own) as client:
        thread = Thread(messages=[{"id": "m", "role": "user", "content": "payroll-export fault:keepalive=0.02"}])
        answer = client.http.post(own.agent, json=client.body(thread))
    assert answer.content.count(b": keepalive\r\n\r\n") >= 3
    assert b"LEDGER_UNAVAILABLE" in answer.content


@pytest.mark.parametrize(("style", "end"), [("cr", b"\r\r"), ("crlf", b"\r\n\r\n")])
def test_line_end_changes_every_line(mindra: MindraClient, style: str, end: bytes) -> None:
    data = mindra.raw(mindra.start(f"fault:line-end={style}", "status-summary"))
    assert data.endswith(end)
    assert data.replace(b"\r\n", b"\r").count(b"\n") == 0


# -- the answer to a request


@pytest.mark.parametrize("on", ["start", "stream", "decision"])
def test_status_answers_in_place_of_the_right_answer(mindra: MindraClient, on: str) -> None:
    fault = f"fault:status=429,on={on},retry_after=3"
    url = f"{mindra.emulator.mindra}/v1/workflows/outbound-email/run"
    task = {"task": f"{on} {fault}"}
    answers = [mindra.http.post(url, json=task)]
    if on == "start":
        answers.append(mindra.http.post(url, json=task))
        assert [answer.status_code for answer in answers] == [429, 200]
    run = answers[-1].json()["execution_id"]
    approval = mindra.asked(run)["approval"]
    if on == "stream":
        answers = [mindra.http.get(mindra.url(run))]
        assert mindra.stream(run, until="approval_request")[-1].event == "approval_request"
    if on == "decision":
        answers = [mindra.decide(run, approval, "approve")]
        assert mindra.emulator.pending(run=run)
        assert mindra.decide(run, approval, "approve").status_code == 200
    assert answers[0].status_code == 429
    assert answers[0].headers["retry-after"] == "3"
    assert answers[0].json() == {"error": "Not now.", "code": "RATE_LIMIT_EXCEEDED"}


def test_a_status_on_an_ag_ui_answer_leaves_it_open(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email fault:status=503,on=decision")
    asking, resume = thread.run, [{"interruptId": thread.interrupts[0]["id"], "status": "cancelled"}]
    answer = agui.http.post(agui.emulator.agent, json=agui.body(thread, resume=resume))
    assert answer.status_code == 503
    assert agui.emulator.pending(thread=thread.id)
    effect = row(agui.emulator.effects(), run=asking)
    assert (effect["executed"], effect["skipped"]) == (0, 0)


def test_redirect_answers_a_location(mindra: MindraClient) -> None:
    run = mindra.start("fault:redirect=http://other.example/x,on=stream,code=302", "status-summary")
    answer = mindra.http.get(mindra.url(run))
    assert (answer.status_code, answer.headers["location"]) == (302, "http://other.example/x")
    again = mindra.start("fault:redirect,on=stream*2", "status-summary")
    answer = mindra.http.get(mindra.url(again), follow_redirects=True)
    assert [step.status_code for step in answer.history] == [307, 307]
    assert "event: done" in answer.text


def test_wrong_type_is_a_web_page(mindra: MindraClient, agui: AgUiClient) -> None:
    run = mindra.start("fault:wrong-type,on=stream", "status-summary")
    answer = mindra.http.get(mindra.url(run))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")
    thread = Thread(messages=[{"id": "m", "role": "user", "content": "fault:wrong-type"}])
    assert agui.http.post(agui.emulator.agent, json=agui.body(thread)).headers["content-type"] == "text/html"


def test_effect_then_drop_acts_and_loses_the_answer(mindra: MindraClient) -> None:
    run = mindra.start("fault:effect-then-drop")
    approval = mindra.asked(run)["approval"]
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        mindra.decide(run, approval, "approve")
    assert row(mindra.emulator.effects(), run=run)["executed"] == 1
    assert mindra.stream(run)[-1].event == "done"


def test_effect_then_drop_can_answer_an_error_instead(mindra: MindraClient) -> None:
    run = mindra.start("fault:effect-then-drop=500")
    assert mindra.decide(run, mindra.asked(run)["approval"], "reject").status_code == 500
    assert row(mindra.emulator.effects(), run=run)["skipped"] == 1


def test_effect_then_drop_on_a_start_leaves_a_run_that_nobody_knows(mindra: MindraClient) -> None:
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        mindra.start("lost answer fault:effect-then-drop,on=start")
    assert [run for run in mindra.emulator.runs() if run["task"].startswith("lost answer")]


@pytest.mark.parametrize("sent", [False, True])
def test_effect_then_drop_on_an_ag_ui_answer_proves_nothing(agui: AgUiClient, sent: bool) -> None:
    thread = agui.start(f"outbound-email fault:effect-then-drop,sent={str(sent).lower()}")
    asking = thread.run
    resume = [{"interruptId": thread.interrupts[0]["id"], "status": "resolved", "payload": {"approved": True}}]
    events = agui.broken(thread, resume=resume)
    assert kinds(events) == (["RUN_STARTED"] if sent else [])
    assert row(agui.emulator.effects(), run=asking)["executed"] == 1


def test_drop_before_effect_does_nothing(mindra: MindraClient, agui: AgUiClient) -> None:
    run = mindra.start("fault:drop-before-effect")
    approval = mindra.asked(run)["approval"]
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        mindra.decide(run, approval, "approve")
    effect = row(mindra.emulator.effects(), run=run)
    assert (effect["approve"], effect["executed"]) == (1, 0)
    assert mindra.emulator.pending(run=run)
    thread = agui.start("outbound-email fault:drop-before-effect")
    asking, interrupt = thread.run, thread.interrupts[0]["id"]
    resume = [{"interruptId": interrupt, "status": "resolved", "payload": {"approved": True}}]
    assert agui.broken(thread, resume=resume) == []
    assert row(agui.emulator.effects(), run=asking)["executed"] == 0
    agui.post(thread, resume=resume)
    assert row(agui.emulator.effects(), run=asking)["executed"] == 1


def test_old_errors_have_the_shape_of_the_older_pages() -> None:
    with emulator("mindra") as own, MindraClient(own) as client:
        own.arm("old-errors")
        answer = client.http.get(f"{own.url}/v1/nothing")
        assert answer.json().keys() == {"error", "message", "details", "requestId"}
        assert answer.json()["error"] == "NOT_FOUND"


def test_stream_url_can_point_to_another_host(mindra: MindraClient) -> None:
    task = {"task": "fault:stream-url=http://other.example/RUN"}
    answer = mindra.http.post(f"{mindra.emulator.mindra}/v1/workflows/refund/run", json=task).json()
    assert answer["stream_url"] == f"http://other.example/{answer['execution_id']}"


# -- replay


def test_replay_all_is_the_default(mindra: MindraClient) -> None:
    run = mindra.start(workflow="status-summary")
    assert mindra.stream(run) == mindra.stream(run)


def test_replay_all_can_lift_another_policy_once(mindra: MindraClient) -> None:
    run = mindra.start("fault:replay-all*1 fault:replay-tail", "status-summary")
    whole = mindra.stream(run)
    assert mindra.stream(run) == whole
    assert mindra.stream(run) == []


def test_replay_tail_gives_only_what_comes_from_now_on(mindra: MindraClient) -> None:
    run = mindra.start("fault:replay-tail")
    before = mindra.stream(run, until="approval_request")
    answered = False
    with mindra.http.stream("GET", mindra.url(run)) as answer:
        wait_for(lambda: row(mindra.emulator.runs(), run=run)["connections"] == 2)
        answered = mindra.decide(run, before[-1].json()["approval_id"], "approve").status_code == 200
        text = answer.read().decode()
    assert answered
    assert text.startswith("event: tool_executing")


def test_replay_overlap_gives_the_last_frames_again(mindra: MindraClient) -> None:
    run = mindra.start("fault:replay-overlap=2", "status-summary")
    assert mindra.stream(run)[-2:] == mindra.stream(run)


def test_replay_none_ends_at_once(mindra: MindraClient) -> None:
    run = mindra.start("fault:replay-none", "status-summary")
    whole = mindra.stream(run)
    assert mindra.stream(run) == []
    assert mindra.stream(run) == whole


def test_replay_divergent_changes_one_frame(mindra: MindraClient) -> None:
    run = mindra.start("fault:replay-divergent=2", "status-summary")
    first, second = mindra.stream(run), mindra.stream(run)
    assert [index for index, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]] == [1]
    assert second[1].json()["revised"] is True


@pytest.mark.parametrize(("how", "events"), [("eof", []), ("done", ["done"])])
def test_after_done_a_connection_gets_less(mindra: MindraClient, how: str, events: list[str]) -> None:
    run = mindra.start(f"fault:after-done={how}", "status-summary")
    mindra.stream(run)
    assert named(mindra.stream(run)) == events


def test_after_done_a_connection_may_get_404(mindra: MindraClient) -> None:
    run = mindra.start("fault:after-done=404", "status-summary")
    mindra.stream(run)
    assert mindra.http.get(mindra.url(run)).status_code == 404


def test_ids_are_given_and_followed(mindra: MindraClient) -> None:
    run = mindra.start("fault:ids", "status-summary")
    frames = mindra.stream(run)
    assert len({frame.id for frame in frames}) == len(frames)
    assert mindra.stream(run, last_event_id=frames[2].id) == frames[3:]
    assert mindra.stream(run) == frames


# -- what is asked


@pytest.mark.parametrize("form", PAYLOADS)
def test_a_payload_goes_out_as_it_is_and_is_hashed_so(mindra: MindraClient, agui: AgUiClient, form: str) -> None:
    text = PAYLOADS[form]()
    run = mindra.start(f"fault:payload={form}")
    frame = mindra.stream(run, until="approval_request")[-1]
    assert frame.data.endswith(f'"tool_input":{text}}}')
    assert row(mindra.emulator.effects(), run=run)["input_sha256"] == sha256(text)
    thread = agui.start(f"outbound-email fault:payload={form}")
    assert thread.arguments(thread.interrupts[0]["toolCallId"]) == text
    assert row(agui.emulator.effects(), run=thread.run)["input_sha256"] == sha256(text)


def test_changed_input_asks_again_under_the_same_mindra_id(mindra: MindraClient) -> None:
    run = mindra.start("fault:changed-input")
    asked = [f.json() for f in _until(mindra, run, requests=2) if f.event == "approval_request"]
    assert asked[0]["approval_id"] == asked[1]["approval_id"]
    assert asked[0]["tool_input"] != asked[1]["tool_input"]
    effect = row(mindra.emulator.effects(), run=run)
    assert effect["input_sha256"] == sha256(json.dumps(asked[1]["tool_input"], ensure_ascii=False))


def test_changed_input_can_be_armed_while_the_run_waits(mindra: MindraClient) -> None:
    run = mindra.start()
    before = mindra.asked(run)["input_sha256"]
    mindra.emulator.arm("changed-input", run=run)
    assert wait_for(lambda: mindra.asked(run)["input_sha256"] != before)


def _until(mindra: MindraClient, run: str, *, requests: int) -> Iterator[Frame]:
    for frame in mindra.follow(run):
        yield frame
        requests -= frame.event == "approval_request"
        if not requests:
            return


def test_changed_input_asks_again_under_the_same_ag_ui_id_and_runs_nothing(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email fault:changed-input")
    asking, first = thread.run, thread.interrupts[0]
    text = thread.arguments(first["toolCallId"])
    agui.answer(thread, {"approved": True})
    second = thread.interrupts[0]
    assert second["id"] == first["id"]
    assert thread.arguments(second["toolCallId"]) != text
    assert row(agui.emulator.effects(), run=asking)["executed"] == 0
    again = thread.run
    agui.answer(thread, {"approved": True})
    assert thread.events[-1]["outcome"] == {"type": "success"}
    assert row(agui.emulator.effects(), run=again)["executed"] == 1


def test_expires_lapses_a_mindra_request_silently(mindra: MindraClient) -> None:
    run = mindra.start("fault:expires=0.05")
    frames = mindra.stream(run)
    assert frames[-1].json()["status"] == "completed"
    assert row(mindra.emulator.effects(), run=run)["skipped"] == 1


def test_early_executing_comes_before_the_request(mindra: MindraClient) -> None:
    frames = mindra.stream(mindra.start("fault:early-executing"), until="approval_request")
    assert named(frames)[-2:] == ["tool_executing", "approval_request"]
    assert frames[-2].json()["tool_input"] == frames[-1].json()["tool_input"]


# -- how it ends, and how answers are taken


def test_error_event_ends_a_failed_run_without_done(mindra: MindraClient) -> None:
    frames = mindra.stream(mindra.start("fault:error-event", "payroll-export"))
    assert "done" not in named(frames)
    assert frames[-1].event == "error"


def test_late_run_error_follows_the_end_and_voids_the_interrupts(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email fault:late-run-error")
    assert kinds(thread.events)[-2:] == ["RUN_FINISHED", "RUN_ERROR"]
    assert wait_for(lambda: not agui.emulator.pending(thread=thread.id))
    interrupts = thread.events[-2]["outcome"]["interrupts"]
    resume = [{"interruptId": interrupts[0]["id"], "status": "resolved", "payload": {"approved": True}}]
    agui.post(thread, resume=resume)
    assert thread.events[-1]["code"] == "UNKNOWN_INTERRUPT"


@pytest.mark.parametrize(("how", "executed"), [("ok", 1), ("acts", 2)])
def test_repeat_forgives_a_second_mindra_decision(mindra: MindraClient, how: str, executed: int) -> None:
    run = mindra.start(f"fault:repeat={how}")
    approval = mindra.asked(run)["approval"]
    assert [mindra.decide(run, approval, "approve").status_code for _ in range(2)] == [200, 200]
    assert row(mindra.emulator.effects(), run=run)["executed"] == executed


@pytest.mark.parametrize(("how", "results", "executed"), [("ok", 0, 1), ("replay", 1, 1), ("acts", 1, 2)])
def test_repeat_forgives_a_second_ag_ui_answer(agui: AgUiClient, how: str, results: int, executed: int) -> None:
    thread = agui.start(f"outbound-email fault:repeat={how}")
    asking = thread.run
    resume = [{"interruptId": thread.interrupts[0]["id"], "status": "resolved", "payload": {"approved": True}}]
    agui.post(thread, resume=resume)
    agui.post(thread, resume=resume)
    assert thread.events[-1]["outcome"] == {"type": "success"}
    assert kinds(thread.events).count("TOOL_CALL_RESULT") == results
    assert row(agui.emulator.effects(), run=asking)["executed"] == executed


def test_unknown_id_approves_the_pending_call(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email fault:unknown-id-approves")
    asking = thread.run
    agui.post(thread, resume=[{"interruptId": "int-none", "status": "resolved", "payload": {"approved": True}}])
    assert row(agui.emulator.effects(), run=asking)["executed"] == 1


def test_edits_ignored_runs_the_original_call(agui: AgUiClient) -> None:
    thread = agui.start("outbound-email fault:edits-ignored")
    asking = thread.run
    agui.answer(thread, {"approved": True, "editedArgs": {"to": "x@harbour.example", "subject": "s", "body": "b"}})
    (result,) = [event for event in thread.events if event["type"] == "TOOL_CALL_RESULT"]
    assert "x@harbour.example" not in result["content"]
    assert "executed_sha256" not in row(agui.emulator.effects(), run=asking)


def test_every_fault_has_a_test() -> None:
    import pathlib

    text = "".join(path.read_text() for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    assert not [name for name in CATALOGUE if f"fault:{name}" not in text and f'arm("{name}"' not in text]
