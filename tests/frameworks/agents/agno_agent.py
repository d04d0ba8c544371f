"""Agno's AgentOS, with tools gated by requires_confirmation: its own wire at `/agents/clerk/runs`, AG-UI at `/agui`."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import recorder
from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os import AgentOS
from agno.os.interfaces.agui import AGUI
from agno.tools import tool


class Scripted(Model):
    """Asks for the tools that the user's words name; behind their results it says that it is done."""

    def _said(self, messages: Any) -> ModelResponse:
        said = max(place for place, one in enumerate(messages) if one.role == "user")
        answered = sum(one.role == "tool" for one in messages[said:])
        calls = recorder.next_calls(str(messages[said].content), answered)
        return ModelResponse(
            role="assistant",
            content="I will do that." if calls else "Done.",
            tool_calls=[
                {
                    "id": f"call_{uuid4().hex[:12]}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for name, arguments in calls
            ],
        )

    def invoke(self, messages: Any, *_: Any, **__: Any) -> ModelResponse:
        return self._said(messages)

    async def ainvoke(self, messages: Any, *_: Any, **__: Any) -> ModelResponse:
        return self._said(messages)

    def invoke_stream(self, messages: Any, *_: Any, **__: Any) -> Iterator[ModelResponse]:
        yield self._said(messages)

    async def ainvoke_stream(self, messages: Any, *_: Any, **__: Any) -> AsyncIterator[ModelResponse]:
        yield self._said(messages)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        raise NotImplementedError  # the base class wants both; the script above answers instead

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        raise NotImplementedError


clerk = Agent(
    id="clerk",
    model=Scripted(id="scripted"),
    tools=[tool(requires_confirmation=True)(gated) for gated in (recorder.send_email, recorder.delete_records)],
    db=SqliteDb(db_file=str(Path(mkdtemp()) / "agno.db")),
    telemetry=False,
)
app = AgentOS(agents=[clerk], interfaces=[AGUI(agent=clerk)], telemetry=False).get_app()

if __name__ == "__main__":
    recorder.serve(app)
