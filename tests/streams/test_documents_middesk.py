"""docs.middesk.com/work-with-agents/stream-runs, sentence by sentence: what it states, and that we live by it.

Read 2026-11. Each statement is quoted by the test that holds us to it; against the adapter where it is about meaning,
and over real HTTP (our holder, our client, the emulated provider) where it is about the wire.

| of the page | what it is | test |
|---|---|---|
| When you create a run, you can stream its progress in real time using Server-Sent Events (SSE). | fact | test_you_can_stream_its_progress_in_real_time_using_server_sent_events |
| The stream delivers events as the agent starts, produces state updates, and finishes. | fact | test_the_stream_delivers_events_as_the_agent_starts_produces_state_updates_and_finishes |
| To stream events for a run, make a GET request to the stream endpoint after creating the run: | fact | test_make_a_get_request_to_the_stream_endpoint_after_creating_the_run |
| curl -N -H "Authorization: Bearer $MIDDESK_API_KEY" -H "Accept: text/event-stream" https://api.middesk.com/v1/runs/{run_id}/stream | fact, four times: as it comes, key, type, address | test_curl_n_reads_as_it_comes, test_authorization_bearer_opens_the_stream, test_accept_text_event_stream, test_the_example_calls_this_address |
| The response uses the text/event-stream content type | fact | test_the_response_uses_the_text_event_stream_content_type |
| and keeps the connection open until the run completes. | fact | test_the_response_keeps_the_connection_open_until_the_run_completes |
| Events are emitted in AG-UI format. | fact | test_events_are_emitted_in_ag_ui_format |
| Each event is delivered as a standard SSE message: | fact | test_each_event_is_delivered_as_a_standard_sse_message |
| the sample of three messages | fact: names, `run_id`, `snapshot` (the page prints it without the blank lines between messages) | test_the_sample_is_read_with_run_id_and_snapshot |
| RUN_STARTED: Emitted when the agent begins execution. | fact | test_run_started_is_emitted_when_the_agent_begins_execution |
| STATE_SNAPSHOT: Emitted as the agent progresses, | fact | test_state_snapshot_is_emitted_as_the_agent_progresses |
| containing the current state of the run including steps and artifacts. | fact | test_a_snapshot_contains_the_current_state_of_the_run_including_steps_and_artifacts |
| RUN_FINISHED: Emitted when the agent completes execution. | fact | test_run_finished_is_emitted_when_the_agent_completes_execution |
| The connection closes after this event. | fact | test_the_connection_closes_after_this_event |
| A typical integration connects to the stream immediately after creating a run: | fact: an advice that we follow | test_an_integration_connects_to_the_stream_immediately_after_creating_a_run |
| Create a run via POST /v1/runs with the agent type and context. | fact | test_create_a_run_via_post_v1_runs_with_the_agent_type_and_context |
| See Run agents. | no fact: a link | |
| Use the returned run id to open an SSE connection to GET /v1/runs/{id}/stream. | fact | test_use_the_returned_run_id_to_open_an_sse_connection |
| Listen for RUN_STARTED, STATE_SNAPSHOT, and RUN_FINISHED events. | fact | test_listen_for_run_started_state_snapshot_and_run_finished_events |
| Use STATE_SNAPSHOT events to update your UI or track progress as the agent works. | fact: an advice that we follow | test_use_state_snapshot_events_to_update_your_ui_or_track_progress |
| If a run has already completed, the stream replays all events from the beginning | fact | test_if_a_run_has_already_completed_the_stream_replays_all_events_from_the_beginning |
| and closes once the final event is delivered. | fact | test_a_replay_closes_once_the_final_event_is_delivered |
| Connect promptly after creating the run | fact: an advice that we follow | test_an_integration_connects_to_the_stream_immediately_after_creating_a_run |
| stream data is retained for a limited time after completion. | fact | test_stream_data_is_retained_for_a_limited_time_after_completion |
| Get a demo. Contact your account manager or contact sales to inquire about access. | no fact: marketing | |
| Stream run events, Connecting to the stream, Event format, Event types, Handling the stream, Create a run, ... | no facts: headings | |
"""  # noqa: E501

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.test import Client

from dashboard.models import User
from streams import readback
from streams.client import read_head
from streams.events import Asked, Broken, Ended, Gone, ReadBack, Started
from streams.models import RunStatus
from streams.providers.base import READ_BACK, Account, Answer, Question, RunView
from streams.sse import Decoder, Frame
from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import MiddeskClient
from tests.streams.following import Following, followed
from tests.streams.holding import in_database, provider_of
from tests.streams.middesk_frames import fold, frame, middesk, reads, start
from tests.streams.middesk_frames import run as run_text

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_engine]
BUSINESS = {"business_id": "5b1e0000-0000-4000-8000-000000000001"}
RUN_ID = "c1d2e3f4-5678-90ab-cdef-1234567890ab"
ALONE, ASKS = "industry_classification", "tin_verification"  # agents: one that asks nobody, one that asks once
RESUME = {"resume": {"enabled": True}}
EVENTS = ("RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED")


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("middesk") as one:
        yield one


@pytest.fixture(scope="module")
def locked() -> Iterator[Emulator]:
    """One that takes a single key."""
    with emulator("middesk", args=["--api-key", "mk_test_the_one"]) as one:
        yield one


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are read soon where they are to be read."""
    monkeypatch.setattr(readback, "SPACE_S", 0.05)
    monkeypatch.setattr(readback, "GONE_S", 0.1)


def follow(agents: Emulator, agent: str = ALONE, faults: str = "", **fields: Any) -> Any:
    """A run of an agent, followed by our own holder."""
    fields = {"secret": "mk_test_key", "options": BUSINESS, **fields}
    return followed(agents.middesk, "middesk", workflow=f"{agent} {faults}".strip(), **fields)


def states(run: Following) -> list[dict[str, Any]]:
    """The runs that the snapshots show, in order."""
    return [json.loads(text)["snapshot"] for kind, text in run.events if kind == "STATE_SNAPSHOT"]


def steps_of(state: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in state.get("steps", []):
        found += [step, *steps_of(step)]
    return found


async def answered(run: Following, verdict: Any = "approve") -> None:
    """Answer the run's question through our own client."""
    asked: Asked = (await run.until(lambda: run.facts(Asked)))[0]
    await in_database(allow_answers, run)
    question = Question(asked.call_id, asked.tool, asked.arguments)
    assert 200 <= await run.answer(Answer(question, verdict, uuid4())) < 300


def allow_answers(run: Following) -> None:
    provider = run.run.provider
    provider.options = RESUME
    provider.save()


# --- connecting -----------------------------------------------------------------------------------------------------


async def test_you_can_stream_its_progress_in_real_time_using_server_sent_events(agents: Emulator) -> None:
    """ "When you create a run, you can stream its progress in real time using Server-Sent Events (SSE)." """
    async with follow(agents, ASKS, "fault:interrupt-end=silent") as run:
        await run.until(lambda: run.facts(Asked))
        wire = run.tap.to("/stream")[0]
        assert wire.closed_by == "", "the run goes on, and its progress is here"
        assert steps_of(states(run)[-1])
        assert agents.runs(run=(await run.fresh()).external_id)[0]["status"] == "waiting"


async def test_the_stream_delivers_events_as_the_agent_starts_produces_state_updates_and_finishes(
    agents: Emulator,
) -> None:
    """ "The stream delivers events as the agent starts, produces state updates, and finishes." """
    async with follow(agents) as run:
        assert (await run.ended()).status == RunStatus.FINISHED
        first, *between, last = [kind for kind, _ in await run.in_order()]
        assert (first, last) == ("RUN_STARTED", "RUN_FINISHED")
        assert len(between) > 1
        assert set(between) == {"STATE_SNAPSHOT"}


async def test_make_a_get_request_to_the_stream_endpoint_after_creating_the_run(agents: Emulator) -> None:
    """ "To stream events for a run, make a GET request to the stream endpoint after creating the run" """
    async with follow(agents) as run:
        await run.ended()
        made, streamed = run.tap.sent[:2]
        assert (made.method, made.path) == ("POST", "/middesk/v1/runs")
        external_id = (await run.fresh()).external_id
        assert (streamed.method, streamed.path, streamed.body) == (
            "GET",
            f"/middesk/v1/runs/{external_id}/stream",
            b"",
        )


@pytest.mark.parametrize(
    "base", ["https://api.middesk.com/v1", "https://api.middesk.com/v1/", "https://api.middesk.com"]
)
def test_the_example_calls_this_address(base: str) -> None:
    """ "https://api.middesk.com/v1/runs/{run_id}/stream" """
    call = middesk.stream_call(Account(base), RunView(UUID(int=1), external_id=RUN_ID), "")
    assert (call.method, call.url) == ("GET", f"https://api.middesk.com/v1/runs/{RUN_ID}/stream")


@pytest.mark.parametrize("secret", ["mk_test_the_one", "mk_test_another", ""])
async def test_authorization_bearer_opens_the_stream(locked: Emulator, secret: str) -> None:
    """ "-H "Authorization: Bearer $MIDDESK_API_KEY"": with another key or none, nothing comes, and we say so."""
    async with follow(locked, secret="mk_test_the_one") as made:
        await made.ended()
        external_id = (await made.fresh()).external_id
    async with follow(locked, secret=secret, external_id=external_id) as run:
        await run.ended()
        for asked in run.tap.sent:
            assert asked.headers.get("authorization", "") == (f"Bearer {secret}" if secret else "")
            assert not secret or secret not in asked.path
        refused = (await provider_of(run.run)).credential_refused_at is not None
        assert (bool(run.events), refused) == ((True, False) if secret == "mk_test_the_one" else (False, True))


async def test_accept_text_event_stream(agents: Emulator) -> None:
    """ "-H "Accept: text/event-stream"" """
    async with follow(agents) as run:
        await run.ended()
        wire = run.tap.to("/stream")[0]
        assert wire.sent[0].headers["accept"] == "text/event-stream"


async def test_curl_n_reads_as_it_comes(agents: Emulator) -> None:
    """ "curl -N": nothing is held back, however small the pieces are."""
    async with follow(agents, ASKS, "fault:interrupt-end=silent fault:slow=5,delay_ms=0") as run:
        await run.until(lambda: run.facts(Asked))
        wire = run.tap.to("/stream")[0]
        await run.until(lambda: len(run.kinds) - run.kinds.count(READ_BACK) == len(wire.frames))
        assert wire.closed_by == ""
        assert await run.in_order() == [(one.event, one.data) for one in wire.frames]


async def test_the_response_uses_the_text_event_stream_content_type(agents: Emulator) -> None:
    """ "The response uses the text/event-stream content type": no other answer is taken for a stream."""
    async with follow(agents) as run:
        await run.ended()
        wire = run.tap.to("/stream")[0]
        assert wire.status == 200
        assert wire.answer_headers["content-type"].split(";")[0] == "text/event-stream"
    now = datetime.now(UTC)
    assert read_head(200, {"content-type": "text/event-stream; charset=utf-8"}, now=now).means == "stream"
    for kind in ("application/json", "text/html", "text/plain", ""):
        assert read_head(200, {"content-type": kind}, now=now).means == "wrong"


async def test_the_response_keeps_the_connection_open_until_the_run_completes(agents: Emulator) -> None:
    """ "and keeps the connection open until the run completes.": one connection, however long nothing is said."""
    async with follow(agents, ASKS, "fault:interrupt-end=silent") as run:
        await run.until(lambda: run.facts(Asked))
        wire = run.tap.to("/stream")[0]
        await answered(run)
        assert (await run.ended()).status == RunStatus.FINISHED
        assert wire.frames[-1].event == "RUN_FINISHED", "on the same connection"


# --- event format ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["", "fault:event-fields=snake", "fault:event-fields=camel"])
async def test_events_are_emitted_in_ag_ui_format(agents: Emulator, style: str) -> None:
    """ "Events are emitted in AG-UI format.": AG-UI's names; its own `type`, `runId`, `threadId` are read as well."""
    async with follow(agents, ALONE, style) as run:
        ended = await run.ended()
        assert ended.status == RunStatus.FINISHED
        assert set(run.kinds) - {READ_BACK} == set(EVENTS)
        assert run.marked == []
    told = {"type": "RUN_STARTED", "runId": RUN_ID, "threadId": "th-1", "timestamp": 1}
    for one in (
        Frame("RUN_STARTED", json.dumps(told)),
        Frame("message", json.dumps(told)),
    ):  # with and without `event:`
        assert middesk.kind_of(one) == "RUN_STARTED"
        assert fold(one)[1] == [Started(thread_id="th-1")]


async def test_each_event_is_delivered_as_a_standard_sse_message(agents: Emulator) -> None:
    """ "Each event is delivered as a standard SSE message": an event line, a data line with JSON, a blank line."""
    async with follow(agents) as run:
        await run.ended()
        wire = run.tap.to("/stream")[0]
        blocks = wire.answer.decode().split("\n\n")
        assert blocks.pop() == ""
        for block, stored in zip(blocks, await run.in_order(), strict=True):
            event, data = block.split("\n")
            assert (event, data) == (f"event: {stored[0]}", f"data: {stored[1]}")
            assert json.loads(stored[1])["run_id"] == run.run.external_id


def test_the_sample_is_read_with_run_id_and_snapshot() -> None:
    """ "event: RUN_STARTED / data: {"run_id": "c1d2e3f4-...", ...}" and the two others, without what is elided."""
    sample = (
        f'event: RUN_STARTED\ndata: {{"run_id": "{RUN_ID}"}}\n\n'
        f'event: STATE_SNAPSHOT\ndata: {{"run_id": "{RUN_ID}", "snapshot": {{}}}}\n\n'
        f'event: RUN_FINISHED\ndata: {{"run_id": "{RUN_ID}"}}\n\n'
    )
    frames = Decoder().feed(sample.encode())
    assert [middesk.kind_of(one) for one in frames] == list(EVENTS)
    _, facts = fold(frames[0], frames[2])
    assert [type(fact) for fact in facts] == [Started, ReadBack], "read and unmarked"
    another = [Frame(one.event, one.data.replace("c1d2", "ffff")) for one in frames]
    assert [type(fact) for fact in fold(another[0])[1]] == [Broken], "run_id says whose it is"


# --- event types ----------------------------------------------------------------------------------------------------


async def test_run_started_is_emitted_when_the_agent_begins_execution(agents: Emulator) -> None:
    """ "RUN_STARTED: Emitted when the agent begins execution." """
    async with follow(agents, ASKS) as run:
        await run.comes("RUN_STARTED")
        assert run.kinds[0] == "RUN_STARTED"
        (line,) = middesk.lines(*run.events[0])
        assert (line.what, line.key) == ("start", (await run.fresh()).external_id)
        await run.until(lambda: run.facts(Asked))
        assert run.kinds.count("RUN_STARTED") == 1
        assert len(run.facts(Started)) >= 1


async def test_state_snapshot_is_emitted_as_the_agent_progresses(agents: Emulator) -> None:
    """ "STATE_SNAPSHOT: Emitted as the agent progresses": each is a little further than the one before."""
    async with follow(agents) as run:
        await run.ended()
        done = [sum(step["status"] == "completed" for step in steps_of(state)) for state in states(run)]
        assert len(done) > 2
        assert done == sorted(done)
        assert done[-1] > done[0]
        assert run.marked == []


async def test_a_snapshot_contains_the_current_state_of_the_run_including_steps_and_artifacts(agents: Emulator) -> None:
    """ "containing the current state of the run including steps and artifacts.": all of it is in what we show."""
    async with follow(agents, ASKS) as run:
        await run.until(lambda: run.facts(Asked))
        (*_, state) = states(run)
        assert {"status", "steps"} <= set(state)
        shown = "\n".join(
            f"{line.label}\n{line.body}" for kind, text in run.events for line in middesk.lines(kind, text)
        )
        steps = steps_of(state)
        artifacts = [artifact for step in steps for artifact in step["artifacts"]]
        assert steps
        assert artifacts
        for said in (*(step["label"] for step in steps), *(artifact["title"] for artifact in artifacts)):
            assert said in shown


async def test_run_finished_is_emitted_when_the_agent_completes_execution(agents: Emulator) -> None:
    """ "RUN_FINISHED: Emitted when the agent completes execution.": the last event; what completed, the run says."""
    async with follow(agents) as run:
        ended = await run.ended()
        assert (await run.in_order())[-1][0] == "RUN_FINISHED"
        assert (ended.status, ended.outcome) == (RunStatus.FINISHED, "completed")
    facts = fold(frame("RUN_FINISHED"))[1]
    assert (reads(facts), any(isinstance(fact, Ended) for fact in facts)) == (1, False)
    _, facts = fold(frame("RUN_FINISHED"), run_text("error"))
    assert [fact.how for fact in facts if isinstance(fact, Ended)] == ["failed"]


async def test_the_connection_closes_after_this_event(agents: Emulator) -> None:
    """ "The connection closes after this event.": nothing comes behind it, and its end means no more than it does."""
    async with follow(agents) as run:
        await run.ended()
        wire = run.tap.to("/stream")[0]
        assert wire.frames[-1].event == "RUN_FINISHED"
        assert wire.answer.endswith(b"\n\n")
        assert [type(fact) for fact in middesk.at_eof(start())] == [ReadBack]


# --- handling the stream --------------------------------------------------------------------------------------------


async def test_an_integration_connects_to_the_stream_immediately_after_creating_a_run(agents: Emulator) -> None:
    """ "A typical integration connects to the stream immediately after creating a run" and "Connect promptly after
    creating the run": nothing else is asked in between."""
    async with follow(agents) as run:
        await run.ended()
        assert [one.path.rpartition("/")[2] for one in run.tap.sent[:2]] == ["runs", "stream"]


async def test_create_a_run_via_post_v1_runs_with_the_agent_type_and_context(agents: Emulator) -> None:
    """ "Create a run via POST /v1/runs with the agent type and context." """
    async with follow(agents) as run:
        await run.ended()
        made = run.tap.sent[0]
        assert (made.method, made.path) == ("POST", "/middesk/v1/runs")
        assert json.loads(made.body) == {"type": ALONE, **BUSINESS}
        assert made.headers["content-type"] == "application/json"
        assert sum(one.method == "POST" for one in run.tap.sent) == 1
    assert set(middesk.check_start(task="", workflow="", options={})) == {"workflow", "options"}, "both are needed"


async def test_use_the_returned_run_id_to_open_an_sse_connection(agents: Emulator) -> None:
    """ "Use the returned run id to open an SSE connection to GET /v1/runs/{id}/stream." """
    async with follow(agents) as run:
        await run.ended()
        (made,) = run.tap.to("/v1/runs")
        told = json.loads(made.answer)["id"]
        assert made.status == 201
        assert (await run.fresh()).external_id == told
        assert run.tap.sent[1].path == f"/middesk/v1/runs/{told}/stream"


@pytest.mark.parametrize("kind", [*EVENTS, "TEXT_MESSAGE_CONTENT", "run_started", "CUSTOM"])
def test_listen_for_run_started_state_snapshot_and_run_finished_events(kind: str) -> None:
    """ "Listen for RUN_STARTED, STATE_SNAPSHOT, and RUN_FINISHED events.": others are kept, and marked."""
    _, facts = fold(frame(kind, snapshot={"status": "running", "steps": []}))
    assert any(isinstance(fact, Broken) for fact in facts) == (kind not in EVENTS)


async def test_use_state_snapshot_events_to_update_your_ui_or_track_progress(agents: Emulator) -> None:
    """ "Use STATE_SNAPSHOT events to update your UI or track progress as the agent works.": a step is shown once, as
    the last snapshot has it."""
    async with follow(agents) as run:
        await run.ended()
        shown: dict[str, str] = {}
        for kind, text in await run.in_order():
            for line in middesk.lines(kind, text):
                if line.what == "step":
                    assert line.whole, "the later one replaces the earlier one"
                    shown[line.key] = line.label
        last = steps_of(states(run)[-1])
        assert sorted(shown.values()) == sorted(step["label"] for step in last)

        def page() -> str:
            client = Client()
            client.force_login(User.objects.create_superuser("boss"))
            return client.get(f"/runs/{run.run.pk}/").content.decode()

        html = await in_database(page)
        for step in last:
            assert html.count(step["label"]) >= 1


# --- after completion -------------------------------------------------------------------------------------------------


def completed(agents: Emulator, faults: str = "") -> str:
    """A run that somebody else made, and that is over before we hear of it; its id."""
    with MiddeskClient(agents) as client:
        made = client.start(f"{ALONE} {faults}".strip())
        assert client.ended(made)["status"] == "completed"
        return made


async def test_if_a_run_has_already_completed_the_stream_replays_all_events_from_the_beginning(
    agents: Emulator,
) -> None:
    """ "If a run has already completed, the stream replays all events from the beginning": we miss nothing by it, and
    what comes a second time adds nothing."""
    external_id = completed(agents)
    async with follow(agents, external_id=external_id) as run:
        assert (await run.ended()).status == RunStatus.FINISHED
        wire = run.tap.to("/stream")[0]
        assert await run.in_order() == [(one.event, one.data) for one in wire.frames]
        assert wire.frames[0].event == "RUN_STARTED"
        assert len(wire.frames) == agents.runs(run=external_id)[0]["frames"]
    async with follow(agents, ALONE, "fault:cut=3") as run:
        await run.ended()
        first, second = run.tap.to("/stream")[:2]
        assert second.frames[: len(first.frames)] == first.frames, "from the beginning"
        assert await run.in_order() == [(one.event, one.data) for one in second.frames]


async def test_a_replay_closes_once_the_final_event_is_delivered(agents: Emulator) -> None:
    """ "and closes once the final event is delivered.": it is not waited on, and opens no question of the past."""
    async with follow(agents, external_id=completed(agents)) as run:
        ended = await run.ended()
        wire = run.tap.to("/stream")[0]
        assert wire.frames[-1].event == "RUN_FINISHED"
        assert (ended.status, ended.outcome) == (RunStatus.FINISHED, "completed")
    assert run.facts(Gone) == run.facts(Asked) == []


@pytest.mark.parametrize("how", ["404", "eof", "done"])
async def test_stream_data_is_retained_for_a_limited_time_after_completion(agents: Emulator, how: str) -> None:
    """ "stream data is retained for a limited time after completion.": then the run itself says how it stands."""
    external_id = completed(agents, f"fault:after-done={how}*all")
    async with follow(agents, external_id=external_id) as run:
        ended = await run.ended()
        assert (ended.status, ended.outcome) == (RunStatus.FINISHED, "completed")
        assert READ_BACK in run.kinds
        assert any(one.path.endswith(f"/v1/runs/{external_id}?include=steps") for one in run.tap.sent)
