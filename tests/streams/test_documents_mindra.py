"""docs.mindra.co/docs/api-reference/stream-events, sentence by sentence: what it states, and that we live by it.

Read 2026-11. Each statement is quoted by the test that holds us to it; against the adapter where it is about meaning,
and over real HTTP (our holder, our client, the emulated provider) where it is about the wire.

| of the page | what it is | test |
|---|---|---|
| Receive real-time execution events via SSE | fact | test_receive_real_time_execution_events_via_sse |
| 2 min read | no fact: how long the page is | |
| After triggering a workflow execution, connect to the stream URL to receive real-time events via Server-Sent Events (SSE). | fact | test_after_triggering_a_workflow_execution_connect_to_the_stream_url |
| GET /api/v1/workflows/execute/{execution_id}/stream | fact | test_endpoint_get_api_v1_workflows_execute_execution_id_stream |
| execution_id: string | fact | test_execution_id_is_a_string |
| The execution ID from the run response | fact | test_the_execution_id_from_the_run_response |
| curl -N "https://api.mindra.co/api/v1/workflows/execute/exec_abc123/stream" -H "x-api-key: YOUR_API_KEY" | fact, three times: address, header, read as it comes | test_the_example_calls_this_address_with_this_header, test_x_api_key_opens_the_stream, test_curl_n_reads_as_it_comes |
| The stream emits the following event types: | fact | test_the_stream_emits_the_following_event_types, test_an_event_type_that_is_not_listed_is_marked |
| chunk: A text chunk from the agent's response. | fact | test_a_text_chunk_from_the_agents_response |
| Collect these to build the full response. | fact | test_collect_these_to_build_the_full_response |
| tool_executing: The agent is about to execute a tool. | fact | test_the_agent_is_about_to_execute_a_tool |
| This event fires before the tool runs. | fact | test_this_event_fires_before_the_tool_runs |
| tool_result: A tool has finished executing and returned a result. | fact | test_a_tool_has_finished_executing_and_returned_a_result |
| approval_request: A high-risk tool execution requires human approval before proceeding. | fact | test_a_high_risk_tool_execution_requires_human_approval_before_proceeding |
| The workflow pauses until the request is approved or rejected. | fact | test_the_workflow_pauses_until_the_request_is_approved_or_rejected |
| See Approvals for how to handle this event. | no fact: a link (its page is held to in test_mindra.py) | |
| done: The workflow execution has completed. | fact | test_the_workflow_execution_has_completed |
| the five samples of `event:` and `data:` lines | fact: fields and framing | test_the_samples_are_read_as_printed, and those above |
| Consuming SSE in TypeScript (sample) | fact: what such a reader sees | test_consuming_sse_in_typescript_sees_what_we_store, test_read_until_the_body_is_done_which_is_no_event |
| Consuming SSE in Python (sample) | fact: what such a reader sees | test_consuming_sse_in_python_sees_what_we_store |
| process.env.MINDRA_API_KEY | no fact of the wire: where the sample has its key; our guide uses the same name | |
| mindra, Stream Events, Endpoint, Path Parameters, Example, Event Types | no facts: headings | |
"""  # noqa: E501

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from streams.events import Asked, Broken, Ended, Fact, MovedOn, Paused
from streams.models import RunStatus
from streams.providers.base import Account, Answer, Question, RunView
from streams.providers.mindra import Mindra
from streams.sse import Decoder, Frame
from tests.emulator import Emulator, emulator
from tests.streams.following import Following, followed
from tests.streams.holding import provider_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
mindra = Mindra()
ACCOUNT = Account("https://api.mindra.co", secret="YOUR_API_KEY")
RUN = RunView(UUID(int=1), external_id="exec_abc123", task="t", workflow="w")
EMAIL = '{"to": "user@example.com", "subject": "Summary report"}'
SAMPLES = {
    "chunk": '{"content": "Based on the information I found..."}',
    "tool_executing": '{"tool_name": "web_search", "tool_input": {"query": "latest updates"}}',
    "tool_result": '{"tool_name": "web_search", "result": "..."}',
    "approval_request": f'{{"approval_id": "apr_xyz789", "tool_name": "send_email", "tool_input": {EMAIL}}}',
    "done": '{"execution_id": "exec_abc123", "status": "completed", '
    '"final_answer": "Here is the result of your task..."}',
}


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("mindra") as one:
        yield one


@pytest.fixture(scope="module")
def locked() -> Iterator[Emulator]:
    """One that takes a single key."""
    with emulator("mindra", args=["--api-key", "the one key"]) as one:
        yield one


def follow(agents: Emulator, workflow: str = "status-summary", faults: str = "", **fields: Any) -> Any:
    """A run of a workflow, followed by our own holder."""
    task = f"Do it {faults} {uuid4()}"
    return followed(agents.mindra, "mindra", task=task, workflow=workflow, **fields)


def fold(*frames: Frame) -> list[Fact]:
    state, facts = mindra.initial(ACCOUNT, RUN), list[Fact]()
    for frame in frames:
        state, told = mindra.step(state, frame)
        facts += told
    return facts


def sample(kind: str) -> Frame:
    """A sample of the page, as our decoder reads its two lines."""
    (frame,) = Decoder().feed(f"event: {kind}\ndata: {SAMPLES[kind]}\n\n".encode())
    return frame


async def decided(run: Following, verdict: Any) -> Asked:
    """Answer the run's question through our own client."""
    await run.comes("approval_request")
    asked: Asked = run.facts(Asked)[0]
    question = Question(asked.call_id, asked.tool, asked.arguments)
    assert 200 <= await run.answer(Answer(question, verdict, uuid4(), reason="as agreed")) < 300
    return asked


# --- connecting -----------------------------------------------------------------------------------------------------


async def test_receive_real_time_execution_events_via_sse(agents: Emulator) -> None:
    """ "Receive real-time execution events via SSE": they are here while the execution still goes on."""
    async with follow(agents, "outbound-email") as run:
        await run.comes("approval_request")
        (wire,) = run.tap.to("/stream")
        assert wire.answer_headers["content-type"].startswith("text/event-stream")
        assert wire.closed_by == "", "the execution goes on, and its events are here"
        assert {"chunk", "tool_executing", "tool_result"} <= set(run.kinds)
        assert (await run.fresh()).status == RunStatus.WAITING


async def test_after_triggering_a_workflow_execution_connect_to_the_stream_url(agents: Emulator) -> None:
    """ "After triggering a workflow execution, connect to the stream URL to receive real-time events via Server-Sent
    Events (SSE)." """
    async with follow(agents) as run:
        await run.ended()
        trigger, stream = run.tap.wires
        assert (trigger.sent[0].method, stream.sent[0].method) == ("POST", "GET")
        told = json.loads(trigger.answer)["stream_url"]
        assert stream.sent[0].path == f"/mindra{told}"
        assert run.kinds[-1] == "done"


def test_endpoint_get_api_v1_workflows_execute_execution_id_stream() -> None:
    """ "GET /api/v1/workflows/execute/{execution_id}/stream" """
    call = mindra.stream_call(Account("https://api.mindra.example"), RUN, "")
    assert (call.method, call.url) == (
        "GET",
        "https://api.mindra.example/api/v1/workflows/execute/exec_abc123/stream",
    )


async def test_an_execution_that_something_else_triggered_is_followed_at_this_endpoint(agents: Emulator) -> None:
    """ "GET /api/v1/workflows/execute/{execution_id}/stream": no other address is needed, nor known here."""
    async with follow(agents) as first:
        await first.ended()
        external_id = (await first.fresh()).external_id
    async with follow(agents, external_id=external_id) as run:
        assert (await run.ended()).status == RunStatus.FINISHED
        (asked,) = run.tap.sent
        assert (asked.method, asked.path) == ("GET", f"/mindra/api/v1/workflows/execute/{external_id}/stream")


def test_execution_id_is_a_string() -> None:
    """ "execution_id string": any text goes into the path as one segment; nothing else is taken for one."""
    odd = RunView(UUID(int=1), external_id="exec/../ä b?c#d")
    assert mindra.stream_call(ACCOUNT, odd, "").url.endswith("/execute/exec%2F..%2F%C3%A4%20b%3Fc%23d/stream")
    assert mindra.read_start(ACCOUNT, b'{"execution_id": "exec_abc123"}').external_id == "exec_abc123"
    for body in (b'{"execution_id": 5}', b'{"execution_id": null}', b'{"id": "exec_abc123"}'):
        with pytest.raises(Exception, match="execution_id"):
            mindra.read_start(ACCOUNT, body)


async def test_the_execution_id_from_the_run_response(agents: Emulator) -> None:
    """ "The execution ID from the run response" """
    async with follow(agents) as run:
        await run.ended()
        told = json.loads(run.tap.wires[0].answer)["execution_id"]
        assert (await run.fresh()).external_id == told
        assert f"/execute/{told}/stream" in run.tap.wires[1].sent[0].path


def test_the_example_calls_this_address_with_this_header() -> None:
    """ "curl -N "https://api.mindra.co/api/v1/workflows/execute/exec_abc123/stream" -H "x-api-key: YOUR_API_KEY"" """
    call = mindra.stream_call(ACCOUNT, RUN, "")
    assert call.url == "https://api.mindra.co/api/v1/workflows/execute/exec_abc123/stream"
    assert call.headers["x-api-key"] == "YOUR_API_KEY"
    assert "YOUR_API_KEY" not in call.url


@pytest.mark.parametrize("secret", ["the one key", "another key", ""])
async def test_x_api_key_opens_the_stream(locked: Emulator, secret: str) -> None:
    """ "-H "x-api-key: YOUR_API_KEY"": with the right one events come, with another or none we stop and say so."""
    async with follow(locked, secret="the one key") as made:
        await made.ended()
        external_id = (await made.fresh()).external_id
    async with follow(locked, secret=secret, external_id=external_id) as run:
        await run.ended()
        (asked,) = run.tap.sent
        assert asked.headers.get("x-api-key", "") == secret
        refused = (await provider_of(run.run)).credential_refused_at is not None
        assert (bool(run.events), refused) == ((True, False) if secret == "the one key" else (False, True))


async def test_curl_n_reads_as_it_comes(agents: Emulator) -> None:
    """ "curl -N": nothing is held back, however small the pieces are."""
    async with follow(agents, "outbound-email", "fault:slow=1,delay_ms=0") as run:
        await run.comes("approval_request")
        (wire,) = run.tap.to("/stream")
        assert wire.closed_by == ""
        assert run.events == [(frame.event, frame.data) for frame in wire.frames]


# --- event types ----------------------------------------------------------------------------------------------------


async def test_the_stream_emits_the_following_event_types(agents: Emulator) -> None:
    """ "The stream emits the following event types:" chunk, tool_executing, tool_result, approval_request, done."""
    async with follow(agents, "outbound-email") as run:
        await decided(run, "approve")
        await run.ended()
        assert set(run.kinds) == set(SAMPLES)
        assert run.marked == []


@pytest.mark.parametrize("kind", ["approval_decided", "run_started", "Chunk", "DONE", "ping"])
def test_an_event_type_that_is_not_listed_is_marked(kind: str) -> None:
    """ "The stream emits the following event types:": whatever else comes is kept, marked, and means nothing."""
    assert [type(fact) for fact in fold(Frame(kind, SAMPLES["done"]))] == [Broken]


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_samples_are_read_as_printed(kind: str) -> None:
    """ "event: ..." and "data: {...}" below each event type: its name is in the event line, its fields in the data."""
    assert mindra.kind_of(sample(kind)) == kind
    assert "type" not in json.loads(SAMPLES[kind])
    assert not any(isinstance(fact, Broken) for fact in fold(sample(kind)))


def test_a_text_chunk_from_the_agents_response() -> None:
    """ "A text chunk from the agent's response." """
    (line,) = mindra.lines("chunk", SAMPLES["chunk"])
    assert (line.what, line.role, line.body) == ("text", "assistant", "Based on the information I found...")
    assert fold(sample("chunk")) == []
    assert [type(fact) for fact in fold(Frame("chunk", '{"text": "elsewhere"}'))] == [Broken]


async def test_collect_these_to_build_the_full_response(agents: Emulator) -> None:
    """ "Collect these to build the full response." """
    async with follow(agents, "outbound-email", "fault:cut=2 fault:slow=3,delay_ms=0") as run:
        await decided(run, "reject")
        await run.ended()
        (*_, last) = run.tap.to("/stream")
        response = "".join(json.loads(frame.data)["content"] for frame in last.frames if frame.event == "chunk")
        collected = [
            line for kind, text in await run.in_order() if kind == "chunk" for line in mindra.lines(kind, text)
        ]
        assert len(collected) > 1
        assert len({line.key for line in collected}) == 1, "they join"
        assert "".join(line.body for line in collected) == response


def test_the_agent_is_about_to_execute_a_tool() -> None:
    """ "The agent is about to execute a tool.": its name, and its input as it was sent."""
    (line,) = mindra.lines("tool_executing", SAMPLES["tool_executing"])
    assert (line.what, line.label, line.body) == ("tool", "web_search", '{"query": "latest updates"}')
    assert fold(sample("tool_executing")) == [], "it asks nobody"


async def test_this_event_fires_before_the_tool_runs(agents: Emulator) -> None:
    """ "This event fires before the tool runs.": so it stands before its result; and it is no sign of consent."""
    async with follow(agents, "outbound-email") as run:
        asked = await decided(run, "approve")
        await run.ended()
        at = {
            kind: [n for n, (one, text) in enumerate(run.events) if one == kind and asked.tool in text]
            for kind in ("approval_request", "tool_executing", "tool_result")
        }
        assert at["approval_request"] < at["tool_executing"] < at["tool_result"]
        ran = [json.loads(text) for kind, text in run.events if kind == "tool_executing"]
        assert {"tool_name": asked.tool, "tool_input": json.loads(asked.arguments)} in ran


def test_a_tool_has_finished_executing_and_returned_a_result() -> None:
    """ "A tool has finished executing and returned a result." """
    (line,) = mindra.lines("tool_result", SAMPLES["tool_result"])
    assert (line.what, line.label, line.body) == ("result", "web_search", "...")
    assert fold(sample("tool_result")) == []


async def test_a_high_risk_tool_execution_requires_human_approval_before_proceeding(agents: Emulator) -> None:
    """ "A high-risk tool execution requires human approval before proceeding." """
    asked, paused = fold(sample("approval_request"))
    assert asked == Asked("apr_xyz789", "send_email", EMAIL, hears_reason=True)
    assert paused == Paused()
    async with follow(agents, "outbound-email") as run:
        await run.comes("approval_request")
        external_id = (await run.fresh()).external_id
        (effect,) = agents.effects(run=external_id)
        assert (effect["approve"], effect["reject"], effect["executed"]) == (0, 0, 0)
        assert agents.pending(run=external_id)[0]["approval"] == run.facts(Asked)[0].call_id


@pytest.mark.parametrize("verdict", ["approve", "reject"])
async def test_the_workflow_pauses_until_the_request_is_approved_or_rejected(agents: Emulator, verdict: str) -> None:
    """ "The workflow pauses until the request is approved or rejected." """
    async with follow(agents, "outbound-email") as run:
        await run.comes("approval_request")
        external_id = (await run.fresh()).external_id
        (there,) = agents.runs(run=external_id)
        assert there["status"] == "waiting"
        assert there["frames"] == len(run.events), "and nothing came behind it"
        assert run.facts(MovedOn) == []
        assert run.run.status == RunStatus.WAITING
        await decided(run, verdict)
        assert (await run.ended()).status == RunStatus.FINISHED
        assert [type(fact) for fact in run.facts(MovedOn)] == [MovedOn], "it went on once, and then"
        (effect,) = agents.effects(run=external_id)
        assert (effect["executed"], effect["skipped"]) == ((1, 0) if verdict == "approve" else (0, 1))


async def test_the_workflow_execution_has_completed(agents: Emulator) -> None:
    """ "The workflow execution has completed." with execution_id, status and final_answer."""
    assert fold(sample("done")) == [Ended("finished", "completed")]
    (line,) = mindra.lines("done", SAMPLES["done"])
    assert (line.body, line.label, line.ended) == ("Here is the result of your task...", "completed", True)
    async with follow(agents) as run:
        ended = await run.ended()
        assert (ended.status, ended.outcome) == (RunStatus.FINISHED, "completed")
        kind, text = run.events[-1]
        assert (kind, json.loads(text)["execution_id"]) == ("done", ended.external_id)
        assert len(run.tap.to("/stream")) == 1, "and it is not joined again"


def test_done_of_another_execution_is_not_ours() -> None:
    """ ""execution_id": "exec_abc123"": which execution has completed is said."""
    other = SAMPLES["done"].replace("exec_abc123", "exec_other")
    assert not any(isinstance(fact, Ended) for fact in fold(Frame("done", other)))


# --- the readers of the page ------------------------------------------------------------------------------------------


def typescript_reader(body: bytes) -> tuple[list[str], list[Any]]:
    """Consuming SSE in TypeScript, line for line, with the whole body in one read."""
    events, datas = [], []
    for line in body.decode().split("\n"):
        if line.startswith("event: "):
            events.append(line[7:])
        if line.startswith("data: "):
            datas.append(json.loads(line[6:]))
    return events, datas


def python_reader(body: bytes) -> list[Any]:
    """Consuming SSE in Python, line for line; `iter_lines` splits as bytes.splitlines does."""
    datas = []
    for line in body.splitlines():
        if line:
            decoded = line.decode("utf-8")
            if decoded.startswith("data: "):
                datas.append(json.loads(decoded[6:]))
    return datas


@pytest.mark.parametrize("workflow", ["status-summary", "outbound-email", "odd-characters"])
async def test_consuming_sse_in_typescript_sees_what_we_store(agents: Emulator, workflow: str) -> None:
    """ "line.startsWith("event: ")", "JSON.parse(line.slice(6))": as many events, with the same names and data."""
    async with follow(agents, workflow) as run:
        await finished(run)
        (*_, wire) = run.tap.to("/stream")
        events, datas = typescript_reader(wire.answer)
        assert events == run.kinds
        assert datas == [json.loads(text) for _, text in run.events]


@pytest.mark.parametrize("workflow", ["status-summary", "outbound-email", "odd-characters"])
async def test_consuming_sse_in_python_sees_what_we_store(agents: Emulator, workflow: str) -> None:
    """ "decoded.startswith("data: ")", "json.loads(decoded[6:])": the same data."""
    async with follow(agents, workflow) as run:
        await finished(run)
        (*_, wire) = run.tap.to("/stream")
        assert python_reader(wire.answer) == [json.loads(text) for _, text in run.events]


async def finished(run: Following) -> None:
    """To the end, with a no to whatever is asked."""
    await run.until(lambda: {"approval_request", "done"} & set(run.kinds))
    if "done" not in run.kinds:
        await decided(run, "reject")
    await run.ended()


async def test_read_until_the_body_is_done_which_is_no_event(agents: Emulator) -> None:
    """ "if (done) break;": the end of a body is not the event `done`; without that one we join again."""
    assert mindra.at_eof(mindra.initial(ACCOUNT, RUN)) == ()
    async with follow(agents, faults="fault:cut=1,mid=false") as run:
        assert (await run.ended()).status == RunStatus.FINISHED
        first, *later = run.tap.to("/stream")
        assert "done" not in [frame.event for frame in first.frames]
        assert len(later) == 1
        assert run.kinds.count("done") == 1
