"""What an agent's server in a test tells of itself: which gated tools really ran, and what was posted to it.

Needs uvicorn alone. `serve(app)` prints `AGENT: http://127.0.0.1:PORT` and serves until it is killed; GET /recorded
tells, and everything else is the framework's own.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote_plus

import uvicorn

EMAIL = {"to": "ana@shop.example", "subject": "Invoice", "body": "Hello Ana,\nhere it is. 🤖"}
DELETION = {"table": "orders", "where": "id = 7"}
LETTER = {**EMAIL, "body": "Žluťoučký kůň 🐎\n" * 10_000}
CALLS = {"e-mail": ("send_email", EMAIL), "delete": ("delete_records", DELETION), "letter": ("send_email", LETTER)}

EFFECTS: list[dict[str, Any]] = []
POSTS: list[dict[str, Any]] = []

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def wanted(words: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls that a user's words ask for, in order."""
    return [call for word, call in CALLS.items() if word in words]


def next_calls(words: str, answered: int) -> list[tuple[str, dict[str, Any]]]:
    """What comes after so many results: all of them at once, or one after the other where the words say "then"."""
    if "then" in words:
        return wanted(words)[answered : answered + 1]
    return [] if answered else wanted(words)


def ran(tool: str, **arguments: Any) -> str:
    """Called by a gated tool when it runs; returns its result."""
    EFFECTS.append({"tool": tool, "arguments": arguments})
    return f"{tool} done: {next(iter(arguments.values()))}"


def send_email(to: str, subject: str, body: str) -> str:
    """Send an e-mail."""
    return ran("send_email", to=to, subject=subject, body=body)


def delete_records(table: str, where: str) -> str:
    """Delete rows of a table."""
    return ran("delete_records", table=table, where=where)


def recording(app: App) -> App:
    """The framework's app, with each body that is posted kept, and told at GET /recorded."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif scope["path"] == "/recorded":
            body = json.dumps({"effects": EFFECTS, "posts": POSTS}).encode()
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            await app(scope, await _recorded(scope, receive), send)

    return answer


async def _recorded(scope: Message, receive: Receive) -> Receive:
    body, more = b"", scope["method"] == "POST"
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    if body:
        try:
            told = json.loads(body)
        except ValueError:  # a form
            told = unquote_plus(body.decode(errors="replace"))
        POSTS.append({"path": scope["path"], "body": told})
    parts = [{"type": "http.request", "body": body, "more_body": False}] if scope["method"] == "POST" else []

    async def once() -> Message:
        return parts.pop() if parts else await receive()

    return once


def serve(app: App) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"AGENT: http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a framework prints goes to the log: nobody reads on
    server = uvicorn.Server(uvicorn.Config(recording(app), log_level="warning"))
    asyncio.run(server.serve(sockets=[listener]))
