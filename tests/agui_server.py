"""A real third-party AG-UI server for tests: pydantic-ai's own AG-UI adapter over a scripted model.

Run as `python -m tests.agui_server`; prints `AG-UI: http://127.0.0.1:PORT/` and serves until it is killed.
Gated tools; every call that really ran is counted by the tool itself and told at GET /effects. The tool of the word
"transfer" then waits for POST /release, so that a test can do something while it is at work.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.ui.ag_ui import AGUIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

EFFECTS: list[dict[str, Any]] = []
POSTS: list[dict[str, Any]] = []
CALLS = {
    "e-mail": ("send_email", {"to": "ana@shop.example", "subject": "Invoice", "body": "Hello Ana,\nhere it is. 🤖"}),
    "delete": ("delete_records", {"table": "orders", "where": "id = 7"}),
    "transfer": ("transfer_money", {"to": "Ana", "cents": 4200}),
}
released = asyncio.Event()


async def script(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Ask for the tools that the user's words name, then say what came of them."""
    last = messages[-1]
    returned = (
        [part for part in last.parts if isinstance(part, ToolReturnPart)] if isinstance(last, ModelRequest) else []
    )
    if returned:
        yield "Result: " + "; ".join(str(part.content) for part in returned)
        return
    prompt = next((str(p.content) for m in reversed(messages) for p in m.parts if isinstance(p, UserPromptPart)), "")
    named = [call for word, call in CALLS.items() if word in prompt]
    if not named:
        yield "Nothing to do."
        return
    yield "I will do that. "
    for index, (name, arguments) in enumerate(named):
        text = json.dumps(arguments, ensure_ascii=False)
        middle = len(text) // 2
        yield {index: DeltaToolCall(name=name, json_args=text[:middle])}
        await asyncio.sleep(0)
        yield {index: DeltaToolCall(json_args=text[middle:])}


agent: Agent[None, Any] = Agent(FunctionModel(stream_function=script), output_type=[str, DeferredToolRequests])


@agent.tool_plain(requires_approval=True)
def send_email(to: str, subject: str, body: str) -> str:
    EFFECTS.append({"tool": "send_email", "arguments": {"to": to, "subject": subject, "body": body}})
    return f"sent to {to}"


@agent.tool_plain(requires_approval=True)
def delete_records(table: str, where: str) -> str:
    EFFECTS.append({"tool": "delete_records", "arguments": {"table": table, "where": where}})
    return f"deleted from {table}"


@agent.tool_plain(requires_approval=True)
async def transfer_money(to: str, cents: int) -> str:
    EFFECTS.append({"tool": "transfer_money", "arguments": {"to": to, "cents": cents}})
    await released.wait()
    return f"{cents} cents sent to {to}"


async def run(request: Request) -> Response:
    body = await request.json()
    POSTS.append({"runId": body.get("runId"), "threadId": body.get("threadId"), "resume": body.get("resume")})
    return await AGUIAdapter.dispatch_request(request, agent=agent)


async def effects(_: Request) -> Response:
    return JSONResponse({"effects": EFFECTS, "posts": POSTS})


async def release(_: Request) -> Response:
    released.set()
    return Response()


app = Starlette(
    routes=[
        Route("/", run, methods=["POST"]),
        Route("/effects", effects),
        Route("/release", release, methods=["POST"]),
    ]
)


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"AG-UI: http://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
