"""pydantic-ai's AG-UI adapter: the history is the client's at `/`, the server's at `/server`, a store's at `/store`."""

import json
from collections.abc import AsyncIterator
from typing import Any

import recorder
from pydantic_ai import Agent
from pydantic_ai.conversation_store import InMemoryConversationStore
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.run import AgentRunResult
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

KEPT: dict[str, list[ModelMessage]] = {}
STORE = InMemoryConversationStore()


async def script(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Ask for the tools that the user's words name, then say that it is done."""
    last = messages[-1]
    parts = last.parts if isinstance(last, ModelRequest) else []
    if any(isinstance(part, ToolReturnPart) for part in parts):
        yield "Done."
        return
    calls = recorder.wanted(" ".join(str(part.content) for part in parts if isinstance(part, UserPromptPart)))
    yield "I will do that. " if calls else "Nothing to do."
    for index, (name, arguments) in enumerate(calls):
        yield {index: DeltaToolCall(name=name, json_args=json.dumps(arguments, ensure_ascii=False))}


agent: Agent[None, Any] = Agent(FunctionModel(stream_function=script), output_type=[str, DeferredToolRequests])
agent.tool_plain(requires_approval=True)(recorder.send_email)
agent.tool_plain(requires_approval=True)(recorder.delete_records)


async def by_client(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent)


async def by_server(request: Request) -> Response:
    thread_id = (await request.json())["threadId"]

    def keep(result: AgentRunResult[Any]) -> None:
        KEPT[thread_id] = result.all_messages()

    return await AGUIAdapter.dispatch_request(
        request,
        agent=agent,
        manage_message_history="server",
        message_history=KEPT.get(thread_id),
        on_complete=keep,
    )


async def by_store(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent, conversation_store=STORE)


app = Starlette(
    routes=[
        Route("/", by_client, methods=["POST"]),
        Route("/server", by_server, methods=["POST"]),
        Route("/store", by_store, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    recorder.serve(app)
