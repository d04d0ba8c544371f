"""A real AG-UI server, in this process: what our answers make pydantic-ai do, counted in its tools."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.events import Ended, Fact
from streams.providers.base import Account, Answer, Applied, Call, Carried, RunView
from streams.sse import Decoder
from tests.streams.agui_frames import agui, answer, asks, end, question

ACCOUNT = Account("http://agent.test/")
CALLS = [("send_email", '{"to": "ana@shop.example"}', "c1"), ("delete_rows", '{"table": "customers"}', "c2")]


@dataclass
class Server:
    """An agent with two gated tools whose model calls them by rounds: a round's calls, then words."""

    rounds: list[list[tuple[str, str, str]]]
    did: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        agent = Agent(FunctionModel(stream_function=self._speak), output_type=[str, DeferredToolRequests])

        @agent.tool_plain(requires_approval=True)
        def send_email(to: str) -> str:
            self.did.append(f"email {to}")
            return "sent"

        @agent.tool_plain(requires_approval=True)
        def delete_rows(table: str) -> str:
            self.did.append(f"delete {table}")
            return "deleted"

        async def endpoint(request: Request) -> Response:
            return await AGUIAdapter.dispatch_request(request, agent=agent)

        return Starlette(routes=[Route("/", endpoint, methods=["POST"])])

    async def _speak(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        results = [
            part
            for m in messages
            if isinstance(m, ModelRequest)
            for part in m.parts
            if isinstance(part, ToolReturnPart)
        ]
        answered, calls = {part.tool_call_id for part in results}, []
        for one in self.rounds:
            if not {call_id for _, _, call_id in one} <= answered:
                calls = one
                break
        if not calls:
            yield "Done."
            return
        yield "One moment. "
        for index, (name, arguments, call_id) in enumerate(calls):
            yield {index: DeltaToolCall(name=name, json_args=arguments[:8], tool_call_id=call_id)}
            yield {index: DeltaToolCall(json_args=arguments[8:])}


@dataclass
class Told:
    """What one call brought."""

    call: Call
    state: Any
    facts: list[Fact]
    frames: list[Any]

    def proof(self, asked: Any) -> Applied | None:
        run_id = self.state.opening.run_id
        carried = Carried(question(asked), "approve", only_open=True, answering_run=run_id)
        proofs = (agui.evidence(carried, agui.kind_of(frame), frame.data) for frame in self.frames)
        return next((proof for proof in proofs if proof), None)


async def send(server: Server, call: Call) -> Told:
    """Let one call out and fold its stream."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app())) as client:
        response = await client.request(call.method, call.url, headers=dict(call.headers), content=call.body)
    assert response.status_code == 200, response.text
    state, facts = agui.initial(ACCOUNT, RunView(uuid4()), call), list[Fact]()
    frames = Decoder().feed(response.content)
    for frame in frames:
        state, told = agui.step(state, frame)
        facts += told
    return Told(call, state, [*facts, *agui.at_eof(state)], frames)


async def begin(server: Server) -> Told:
    run = RunView(UUID(int=1), external_id=str(uuid4()), thread_id=str(uuid4()), task="email Ana")
    return await send(server, agui.start_call(ACCOUNT, run))


async def go_on(server: Server, told: Told, *answers: Answer) -> Told:
    state = agui.load(agui.dump(told.state))
    return await send(server, agui.decision_call(ACCOUNT, RunView(uuid4()), state, answers, new_run_id=str(uuid4())))


@pytest.mark.parametrize(
    ("verdict", "fields", "did"),
    [
        ("approve", {}, ["email ana@shop.example"]),
        ("approve", {"edited": '{"to": "bo@shop.example"}'}, ["email bo@shop.example"]),
        ("reject", {}, []),
        ("reject", {"reason": "wrong person"}, []),
        ("nobody", {}, []),
    ],
)
async def test_a_gated_tool_runs_only_after_its_approval(verdict: str, fields: dict[str, str], did: list[str]) -> None:
    server = Server([CALLS[:1]])
    told = await begin(server)
    (asked,) = asks(told.facts)
    assert (asked.arguments, server.did) == ('{"to": "ana@shop.example"}', [])
    after = await go_on(server, told, answer(asked, verdict, **fields))
    assert end(after.facts) == Ended("finished", "success")
    assert server.did == did
    assert after.proof(asked) == "applied"


async def test_two_gated_calls_are_answered_together() -> None:
    server = Server([CALLS])
    told = await begin(server)
    email, delete = asks(told.facts)
    after = await go_on(server, told, answer(email, "reject"), answer(delete))
    assert end(after.facts).how == "finished"
    assert server.did == ["delete customers"]
    assert after.proof(email) == after.proof(delete) == "applied"


async def test_a_second_pause_of_the_same_thread_carries_the_whole_conversation() -> None:
    server = Server([CALLS[:1], CALLS[1:]])
    told = await begin(server)
    (email,) = asks(told.facts)
    again = await go_on(server, told, answer(email))
    assert again.proof(email) == "applied"
    (delete,) = asks(again.facts)
    last = await go_on(server, again, answer(delete))
    assert end(last.facts) == Ended("finished", "success")
    assert server.did == ["email ana@shop.example", "delete customers"]
    roles = [message["role"] for message in last.state.messages.values()]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]
