"""Recorded exchanges with real AG-UI servers: what was posted, and the frames that came back."""

import json
from pathlib import Path
from typing import Any

from streams.events import Fact
from streams.providers.agui.state import State
from streams.providers.base import Account, Call
from streams.sse import Decoder, Frame
from tests.streams.agui_frames import RUN, agui

TAPES = Path(__file__).resolve().parent.parent / "tapes"
PEERS = ("agent_framework", "langgraph", "pydantic_ai")  # that speak AG-UI; the others have wires of their own
ALL = sorted(
    str(path.relative_to(TAPES).with_suffix(""))
    for peer in PEERS
    for path in (TAPES / peer).glob("*.sse")
    if "23-" not in path.name
)


def posted(name: str) -> dict[str, Any]:
    """The RunAgentInput of an exchange."""
    return json.loads((TAPES / f"{name}.request.json").read_text())["json"]  # type: ignore[no-any-return]


def raw(name: str) -> bytes:
    return (TAPES / f"{name}.sse").read_bytes()


def frames(name: str) -> list[Frame]:
    return Decoder().feed(raw(name))


def opening(name: str, body: dict[str, Any] | None = None) -> Call:
    """The call as we would have made it."""
    return Call("POST", "http://127.0.0.1/", body=json.dumps(body or posted(name)).encode())


def play(name: str, *, call: Call | None = None, account: Account | None = None) -> tuple[State, list[Fact]]:
    """Fold an exchange from its opening call to the end of its bytes."""
    state, facts = agui.initial(account or Account("http://127.0.0.1/"), RUN, call or opening(name)), list[Fact]()
    for frame in frames(name):
        state, told = agui.step(state, frame)
        facts += told
    return state, [*facts, *agui.at_eof(state)]
