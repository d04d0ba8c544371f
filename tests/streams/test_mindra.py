"""Mindra's wire as documented on docs.mindra.co (read 2026-11), and what becomes of everything else."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import WireError
from streams.events import Asked, Broken, Ended, Fact, MovedOn, Paused
from streams.providers.base import Account, Answer, Call, Carried, Question, RunView
from streams.providers.mindra import Mindra
from streams.sse import Frame

KEY = UUID("00000000-0000-4000-8000-000000000007")
ACCOUNT = Account("https://api.mindra.example", secret="key-for-tests")
RUN = RunView(UUID(int=1), external_id="exec_77f0", task="Check vendor 4711", workflow="vendor-onboarding")
INPUT = '{"to": "buyers@shop.example","n":1.50}'
MAIL = Question("apr_51", "send_mail", INPUT)
mindra = Mindra()


def frame(event: str, **fields: Any) -> Frame:
    return Frame(event, json.dumps(fields))


def asking(approval_id: str = "apr_51", tool: str = "send_mail", tool_input: str = INPUT) -> Frame:
    data = f'{{"approval_id":{json.dumps(approval_id)},"tool_name":{json.dumps(tool)},"tool_input":{tool_input}}}'
    return Frame("approval_request", data)


def fold(*frames: Frame) -> tuple[Any, list[Fact]]:
    state, facts = mindra.initial(ACCOUNT, RUN), list[Fact]()
    for one in frames:
        state, told = mindra.step(state, one)
        facts += told
    return state, facts


def answer(verdict: Any = "approve", question: Question = MAIL, **fields: Any) -> Answer:
    return Answer(question, verdict, KEY, **fields)


def decide(*answers: Answer, account: Account = ACCOUNT, run: RunView = RUN) -> Call:
    return mindra.decision_call(account, run, mindra.initial(account, run), answers)


# --- start ---


def test_a_start_posts_task_and_metadata_to_the_slug_with_the_key() -> None:
    run = RunView(UUID(int=1), task="t", workflow="a b/c?d", options={"metadata": {"x": 1}})
    call = mindra.start_call(ACCOUNT, run)
    assert (call.method, call.url) == ("POST", "https://api.mindra.example/v1/workflows/a%20b%2Fc%3Fd/run")
    assert json.loads(call.body or b"") == {"task": "t", "metadata": {"x": 1}}
    assert call.headers["x-api-key"] == "key-for-tests"
    assert call.headers["content-type"] == "application/json"
    assert not call.repeatable
    assert not call.streams


def test_a_base_url_keeps_its_path_prefix() -> None:
    account = Account("http://127.0.0.1:8800/mindra/")
    assert mindra.start_call(account, RUN).url == "http://127.0.0.1:8800/mindra/v1/workflows/vendor-onboarding/run"
    expected = "http://127.0.0.1:8800/mindra/api/v1/workflows/execute/exec_77f0/stream"
    assert mindra.stream_call(account, RUN, "").url == expected
    assert decide(answer(), account=account).url.startswith("http://127.0.0.1:8800/mindra/v1/workflows/execute/")


@pytest.mark.parametrize(
    ("task", "workflow", "options", "field"),
    [
        ("", "slug", {}, "task"),
        ("  ", "slug", {}, "task"),
        ("t", "", {}, "workflow"),
        ("t", "..", {}, "workflow"),
        ("t", "slug", {"context": []}, "options"),
        ("t", "slug", {"metadata": "text"}, "options"),
    ],
)
def test_a_start_that_mindra_cannot_take_is_refused_by_field(
    task: str, workflow: str, options: dict[str, Any], field: str
) -> None:
    assert list(mindra.check_start(task=task, workflow=workflow, options=options)) == [field]


def test_a_complete_start_has_no_problems() -> None:
    assert mindra.check_start(task="t", workflow="slug", options={"metadata": {}}) == {}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"execution_id": 5}', b'{"execution_id": ""}', b"\xff", b"<html>"]
)
def test_an_answer_to_a_start_without_an_execution_id_is_an_error(body: bytes) -> None:
    with pytest.raises(WireError):
        mindra.read_start(ACCOUNT, body)


@pytest.mark.parametrize(
    ("given_url", "used"),
    [
        ("/api/v1/x/stream", "https://api.mindra.example/p/api/v1/x/stream"),
        ("api/v1/x/stream", "https://api.mindra.example/p/api/v1/x/stream"),
        ("/p/api/v1/x/stream", "https://api.mindra.example/p/api/v1/x/stream"),
        ("https://api.mindra.example/other", "https://api.mindra.example/other"),
        ("HTTPS://API.MINDRA.EXAMPLE:443/other", "HTTPS://API.MINDRA.EXAMPLE:443/other"),
    ],
)
def test_a_returned_stream_url_is_used_on_the_own_origin(given_url: str, used: str) -> None:
    account = Account("https://api.mindra.example/p", secret="k")
    begun = mindra.read_start(account, json.dumps({"execution_id": "e", "stream_url": given_url}).encode())
    assert (begun.external_id, begun.stream_url) == ("e", given_url)
    call = mindra.stream_call(account, RunView(UUID(int=1), "e", stream_url=begun.stream_url), "")
    assert call.url == used
    assert call.headers["x-api-key"] == "k"
    assert call.repeatable
    assert call.streams


@pytest.mark.parametrize(
    "given_url",
    [
        "https://evil.example/s",
        "http://api.mindra.example/s",
        "https://api.mindra.example:8443/s",
        "//evil.example/s",
        "https://api.mindra.example@evil.example/s",
        "https://user@api.mindra.example/s",
        "/\\evil.example/s",
        "https://api.mindra.example:x/s",
        "/a/../../b",
        "/a b",
        "ftp://api.mindra.example/s",
        "https://[bad/s",
    ],
)
def test_the_key_never_goes_to_a_stream_url_on_another_origin(given_url: str) -> None:
    begun = mindra.read_start(ACCOUNT, json.dumps({"execution_id": "e", "stream_url": given_url}).encode())
    assert begun.stream_url == ""
    for stored in (begun.stream_url, given_url):  # a stored one is looked at again: the base URL may have changed
        call = mindra.stream_call(ACCOUNT, RunView(UUID(int=1), "e", stream_url=stored), "")
        assert call.url == "https://api.mindra.example/api/v1/workflows/execute/e/stream"


def test_the_last_event_id_is_sent_only_where_there_is_one() -> None:
    assert "last-event-id" not in mindra.stream_call(ACCOUNT, RUN, "").headers
    assert mindra.stream_call(ACCOUNT, RUN, "7").headers["last-event-id"] == "7"


def test_a_secret_that_no_header_can_carry_is_an_error_that_does_not_tell_it() -> None:
    with pytest.raises(WireError) as caught:
        mindra.stream_call(Account("https://a.example", secret="top\r\nsecret"), RUN, "")
    assert "top" not in str(caught.value)


# --- events ---


def test_an_approval_request_asks_with_the_exact_text_of_its_input() -> None:
    _, facts = fold(asking())
    assert facts == [Asked("apr_51", "send_mail", INPUT, hears_reason=True), Paused()]


def test_the_documented_example_folds_to_its_end() -> None:
    state, facts = fold(
        frame("chunk", content="Looking up the vendor. "),
        frame("tool_executing", tool_name="registry_lookup", tool_input={"vendor": 4711}),
        frame("tool_result", tool_name="registry_lookup", result="active"),
        asking(),
        frame("done", execution_id="exec_77f0", status="completed", final_answer="Mail sent."),
    )
    asked, paused, moved, ended = facts
    assert isinstance(asked, Asked)
    assert (paused, moved, ended) == (Paused(), MovedOn("done"), Ended("finished", "completed"))
    assert mindra.at_eof(state) == ()


@pytest.mark.parametrize("kind", ["chunk", "tool_executing", "tool_result"])
def test_a_run_that_goes_on_after_a_question_has_moved_on_once(kind: str) -> None:
    moving = frame(kind, content="x", tool_name="t", tool_input={}, result=1)
    _, facts = fold(asking(), moving, moving)
    assert facts[2:] == [MovedOn(kind)]


def test_a_second_question_is_no_moving_on() -> None:
    _, facts = fold(asking("a"), asking("b"))
    assert [type(fact) for fact in facts] == [Asked, Paused, Asked, Paused]


@pytest.mark.parametrize("status", ["failed", "cancelled", "COMPLETED", "", "completed "])
def test_only_the_status_completed_is_success(status: str) -> None:
    _, facts = fold(frame("done", execution_id="exec_77f0", status=status))
    assert [fact for fact in facts if isinstance(fact, Ended)] == [Ended("failed", status)]


@pytest.mark.parametrize("data", ["{}", '{"status": 1}', '{"status": null}', "[]", "not json", '{"status":"completed"'])
def test_a_done_that_cannot_be_read_is_marked_and_never_success(data: str) -> None:
    _, facts = fold(Frame("done", data))
    assert isinstance(facts[0], Broken)
    assert isinstance(facts[-1], Ended)
    assert facts[-1].how == "failed"


def test_the_done_of_another_execution_does_not_end_ours() -> None:
    state, facts = fold(frame("done", execution_id="exec_other", status="completed"), asking())
    assert [type(fact) for fact in facts] == [Broken, Asked, Paused]
    assert not state.ended


def test_the_words_of_an_undocumented_error_event_are_told_when_the_run_fails() -> None:
    _, facts = fold(frame("error", error="model overloaded"), frame("done", status="failed"))
    assert facts == [Ended("failed", "failed", "model overloaded")]


def test_an_error_event_alone_ends_nothing() -> None:
    state, facts = fold(frame("error", message="m"))
    assert facts == []
    assert mindra.at_eof(state) == ()


@pytest.mark.parametrize("event", ["ping", "approval_decided", "x" * 500, "\ud800", "message"])
def test_unknown_events_are_marked_and_the_stream_goes_on(event: str) -> None:
    _, facts = fold(Frame(event, '{"a": 1}'), asking())
    assert isinstance(facts[0], Broken)
    assert isinstance(facts[1], Asked)
    assert len(mindra.kind_of(Frame(event, "{}"))) <= 100


def test_data_without_an_event_line_is_an_approval_request_if_it_has_an_approval_id() -> None:
    nameless = Frame("message", asking().data)
    assert mindra.kind_of(nameless) == "approval_request"
    assert isinstance(fold(nameless)[1][0], Asked)
    assert mindra.kind_of(Frame("message", '{"content": "approval_id"}')) == "message"
    assert mindra.kind_of(Frame("tool_result", asking().data)) == "tool_result"


def test_nothing_counts_after_done() -> None:
    _, facts = fold(frame("done", status="completed"), asking())
    assert [type(fact) for fact in facts] == [Ended, Broken]


ODD_INPUTS = {
    "duplicate keys": '{"to": "a", "to": "b"}',
    "NaN": '{"n": NaN}',
    "Infinity": '{"n": Infinity}',
    "10^400": '{"n": 1' + "0" * 400 + "}",
    "5,000 digits": '{"n": ' + "7" * 5_000 + "}",
    "1e400": '{"n": 1e400}',
    "200 deep": '{"a":' * 200 + "1" + "}" * 200,
    "escaped NUL": '{"a": "\\u0000"}',
    "half a character": '{"a": "\\ud800"}',
    "a text": '"rm -rf"',
    "a list": "[1]",
    "null": "null",
}


@pytest.mark.parametrize("tool_input", ODD_INPUTS.values(), ids=ODD_INPUTS)
def test_an_odd_input_is_asked_about_exactly_as_sent_and_cannot_be_approved(tool_input: str) -> None:
    _, facts = fold(asking(tool_input=tool_input))
    asked = facts[0]
    assert isinstance(asked, Asked)
    assert (asked.call_id, asked.arguments) == ("apr_51", tool_input)
    assert asked.problem
    assert any(isinstance(fact, Broken) for fact in facts)  # so that the event is marked
    if tool_input[0] == "{":
        with pytest.raises(WireError):
            decide(answer(question=Question("apr_51", "send_mail", tool_input)))
    assert decide(answer("reject", Question("apr_51", "send_mail", tool_input))).url.endswith("/reject/apr_51")


ODD_REQUESTS = {
    "cut off": '{"approval_id":"apr_51","tool_name":"t","tool_input":{"a":',
    "a comma too many": '{"approval_id":"apr_51",}',
    "100,000 deep": '{"approval_id":"apr_51","tool_input":' + "[" * 100_000,
    "no tool_input": '{"approval_id":"apr_51","tool_name":"t"}',
    "tool_name is a number": '{"approval_id":"apr_51","tool_name":5,"tool_input":{}}',
    "tool_name twice": '{"approval_id":"apr_51","tool_name":"a","tool_name":"b","tool_input":{}}',
    "tool_input twice": '{"approval_id":"apr_51","tool_name":"a","tool_input":{},"tool_input":{"x":1}}',
    "NaN beside it": '{"approval_id":"apr_51","tool_name":"a","tool_input":{},"risk":NaN}',
    "raw NUL": '{"approval_id":"apr_51","tool_name":"a","tool_input":{"x":"\0"}}',
}


@pytest.mark.parametrize("data", ODD_REQUESTS.values(), ids=ODD_REQUESTS)
def test_a_broken_request_whose_id_is_certain_is_asked_about_and_cannot_be_approved(data: str) -> None:
    _, facts = fold(Frame("approval_request", data))
    asked = facts[0]
    assert isinstance(asked, Asked)
    assert asked.call_id == "apr_51"
    assert asked.problem
    assert "\0" not in asked.arguments
    assert asked.arguments or "tool_input" not in data


def test_an_id_that_is_a_number_can_be_refused_but_not_approved() -> None:
    _, facts = fold(Frame("approval_request", '{"approval_id":51,"tool_name":"t","tool_input":{}}'))
    assert isinstance(facts[0], Asked)
    assert (facts[0].call_id, facts[0].problem) == ("51", "approval_id is not a text")


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{}",
        "null",
        "[]",
        '{"approval_id": null}',
        '{"approval_id": ""}',
        '{"approval_id": ".."}',
        '{"approval_id": "a\\u0000b"}',
        '{"approval_id": "\\ud800"}',
        json.dumps({"approval_id": "x" * 301}),
        '{"approval_id": true}',
        '{"approval_id":"a","tool_input":{"approval_id":"b"',
    ],
)
def test_without_a_certain_id_there_is_a_mark_and_no_question(data: str) -> None:
    state, facts = fold(Frame("approval_request", data))
    assert [type(fact) for fact in facts] == [Broken]
    assert not state.paused


@pytest.mark.parametrize(
    "one",
    [
        Frame("chunk", "{}"),
        Frame("chunk", '{"content": 5}'),
        Frame("chunk", "broken"),
        Frame("chunk", "[1]"),
        Frame("tool_executing", '{"tool_name": 1}'),
        Frame("tool_executing", '{"tool_name": "t", "tool_input": []}'),
        Frame("tool_result", "{}"),
    ],
)
def test_known_events_with_wrong_fields_are_marked_and_still_show_that_the_run_goes_on(one: Frame) -> None:
    _, facts = fold(asking(), one)
    assert isinstance(facts[2], Broken)
    assert facts[3] == MovedOn(one.event)


# --- decisions ---


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_decision_goes_to_its_own_path_with_its_key(verdict: str) -> None:
    call = decide(answer(verdict, reason="wrong customer"))
    assert (call.method, call.url) == (
        "POST",
        f"https://api.mindra.example/v1/workflows/execute/exec_77f0/{verdict}/apr_51",
    )
    assert json.loads(call.body or b"") == {"reason": "wrong customer"}
    assert call.headers["x-idempotency-key"] == str(KEY)
    assert call.headers["x-api-key"] == "key-for-tests"
    assert not call.repeatable


def test_without_a_reason_the_body_is_an_empty_object() -> None:
    assert decide(answer()).body == b"{}"


def test_a_reason_is_cut_at_1000_characters() -> None:
    assert json.loads(decide(answer("reject", reason="é" * 3_000)).body or b"")["reason"] == "é" * 1_000


def test_ids_are_quoted_in_the_path() -> None:
    call = decide(answer(question=Question("a/../b?c#d é", "t", "{}")), run=RunView(UUID(int=1), "x/y"))
    assert call.url.endswith("/execute/x%2Fy/approve/a%2F..%2Fb%3Fc%23d%20%C3%A9")


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (answer(), answer()),
        (answer("nobody"),),
        (answer(edited='{"to":"x"}'),),
        (answer(answer='"x"'),),
        (answer(question=Question("..", "t", "{}")),),
        (answer(question=Question("", "t", "{}")),),
        (answer(question=Question("a", "t", "")),),
    ],
)
def test_what_mindra_has_no_word_for_is_never_sent(answers: tuple[Answer, ...]) -> None:
    with pytest.raises(WireError):
        decide(*answers)


# --- refusals ---


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b'{"error":"No longer open","code":"APPROVAL_EXPIRED"}', "APPROVAL_EXPIRED", "No longer open"),
        (b'{"error":"NOT_FOUND","message":"No such id","requestId":"r"}', "NOT_FOUND", "No such id"),
        (b'{"error":"NOT_FOUND"}', "NOT_FOUND", "NOT_FOUND"),
        (b'{"error":"gone away"}', "HTTP_404", "gone away"),
        (b"<html>Bad gateway</html>", "HTTP_404", "<html>Bad gateway</html>"),
        (b"", "HTTP_404", "HTTP 404 without a word"),
        (b'"text"', "HTTP_404", "text"),
        (b"5", "HTTP_404", "5"),
        (b'{"error":{"code":"X_Y","message":"m"}}', "X_Y", "m"),
        (b'{"detail":[{"loc":["body","reason"],"msg":"too long"}]}', "HTTP_404", "body.reason: too long"),
        (b'[{"loc":["threadId"],"msg":"a string"},5]', "HTTP_404", "threadId: a string"),
    ],
)
def test_both_error_shapes_and_all_others_are_read(body: bytes, code: str, text: str) -> None:
    refusal = mindra.read_refusal(404, body)
    assert (refusal.code, refusal.text) == (code, text)


@given(st.binary(max_size=200))
def test_any_error_body_is_survived(body: bytes) -> None:
    refusal = mindra.read_refusal(500, body)
    assert refusal.code
    assert 0 < len(refusal.text) <= 500


# --- evidence ---


def carried(verdict: Any, *, only_open: bool = True) -> Carried:
    return Carried(MAIL, verdict, only_open)


RUNS = '{"tool_input":{"n":1.5,"to":"buyers@shop.example"},"tool_name":"send_mail"}'


@pytest.mark.parametrize(
    ("kind", "payload", "approved", "rejected"),
    [
        ("tool_executing", RUNS, "applied", "not_applied"),
        ("tool_executing", RUNS.replace("1.5", "2"), None, "applied"),
        ("tool_executing", RUNS.replace("send_mail", "other"), None, "applied"),
        ("tool_executing", "broken", None, None),
        ("tool_result", '{"tool_name":"send_mail","result":"ok"}', None, "applied"),
        ("chunk", '{"content":"As you wish."}', None, "applied"),
        ("done", '{"status":"completed"}', None, "applied"),
        ("approval_request", '{"approval_id":"apr_52"}', None, "applied"),
        ("approval_request", '{"approval_id":"apr_51"}', None, None),
        ("approval_request", "broken", None, None),
        ("error", "{}", None, None),
        ("ping", "{}", None, None),
    ],
)
def test_the_next_frame_proves_what_became_of_an_answer(
    kind: str, payload: str, approved: str | None, rejected: str | None
) -> None:
    assert mindra.evidence(carried("approve"), kind, payload) == approved
    assert mindra.evidence(carried("reject"), kind, payload) == rejected


def test_nothing_is_proved_while_another_request_was_open() -> None:
    assert mindra.evidence(carried("approve", only_open=False), "tool_executing", RUNS) is None
    assert mindra.evidence(carried("reject", only_open=False), "done", '{"status":"completed"}') is None


# --- the rest ---


def test_capabilities_promise_only_what_is_documented() -> None:
    can = mindra.capabilities
    assert (can.edit, can.ask, can.cancel_run, can.batch, can.read_back, can.idempotent_decision) == (False,) * 6
    assert (can.reason, can.watch, can.needs_task, can.needs_workflow) == (True,) * 4
    assert (can.replay, can.stall_s, can.stall_waiting_s, can.repeatable_start) == ("unknown", 60.0, 600.0, False)
    assert not mindra.not_accepted("anything")
    assert mindra.identity("chunk", "ab") != mindra.identity("done", "ab")


def test_a_state_survives_its_checkpoint() -> None:
    state, _ = fold(asking(), frame("error", error="e"))
    assert mindra.load(mindra.dump(state)) == state


@pytest.mark.parametrize(
    ("kind", "payload", "what", "body", "label"),
    [
        ("chunk", '{"content":"Hi"}', "text", "Hi", ""),
        ("tool_executing", '{"tool_name":"t","tool_input":{"b":1, "a":2}}', "tool", '{"b":1, "a":2}', "t"),
        ("tool_result", '{"tool_name":"t","result":"ok"}', "result", "ok", "t"),
        ("tool_result", '{"tool_name":"t","result":{"a": 1}}', "result", '{"a": 1}', "t"),
        ("approval_request", asking().data, "ask", INPUT, "send_mail"),
        ("done", '{"status":"completed","final_answer":"Sent."}', "end", "Sent.", "completed"),
        ("error", '{"error":"bad"}', "note", "bad", "error"),
        ("ping", "{}", "note", "{}", "ping"),
    ],
)
def test_the_timeline_reads_every_event(kind: str, payload: str, what: str, body: str, label: str) -> None:
    (line,) = mindra.lines(kind, payload)
    assert (line.what, line.body, line.label) == (what, body, label)


def test_pieces_of_the_answer_join() -> None:
    keys = {line.key for content in "ab" for line in mindra.lines("chunk", json.dumps({"content": content}))}
    assert len(keys) == 1
    assert keys != {""}
