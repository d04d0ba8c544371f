"""A run and the tools of its pause in what AgentOS sends: where they lie, and what they say. Pure.

Source: agno 3.1.10 as it answered on loopback (tests/tapes/agno_os) and docs.agno.com/reference-api, 2026-11.
`RunPaused` has the run's tools, also those that ran before; `GET .../runs/{run_id}` has them with the run's `status`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams import jsontext
from streams.events import short, text

GOING, WAITING, COMPLETED, FAILED, CANCELLED = "going", "waiting", "completed", "failed", "cancelled"
STATUSES: Final[Mapping[str, str]] = {
    "PENDING": GOING,
    "RUNNING": GOING,
    "PAUSED": WAITING,
    "COMPLETED": COMPLETED,
    "ERROR": FAILED,
    "CANCELLED": CANCELLED,
}
CHATTER: Final = frozenset({"replay", "catch_up", "subscribed"})  # what a connection says of itself


class Unreadable(ValueError):
    """A payload in which no run can be found; the message says why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool call of a run as a payload shows it. `raw`: exactly as it came; empty where it cannot be cut out."""

    item: Mapping[str, Any]
    raw: str
    trouble: str = ""  # what is wrong with the payload around it

    @property
    def id(self) -> str:
        """Its `tool_call_id`; empty where that is none."""
        found = self.item.get("tool_call_id")
        return found if isinstance(found, str) else ""

    @property
    def confirmed(self) -> bool | None:
        """What was answered; None: nothing."""
        found = self.item.get("confirmed")
        return found if isinstance(found, bool) else None

    @property
    def done(self) -> bool:
        """It ran."""
        return self.item.get("result") is not None or self.item.get("tool_call_error") is True

    @property
    def waits(self) -> bool:
        """A person is to say something to it: yes or no, or more."""
        asks = ("requires_confirmation", "requires_user_input", "external_execution_required")
        return self.confirmed is None and not self.done and any(self.item.get(name) is True for name in asks)


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as the answer to its GET shows it."""

    run_id: str
    session_id: str
    word: str  # the status as sent
    tools: tuple[Tool, ...]
    lists: bool  # it speaks of its tools at all
    content: str

    @property
    def status(self) -> str:
        """One of those that we know, else empty: an unknown word is never taken for an end."""
        return STATUSES.get(self.word, "")


def parse(data: str) -> Mapping[str, Any]:
    """A payload as an object. What only a lenient parser reads is read too; its questions then say so."""
    try:
        value = jsontext.quick(data)
    except ValueError as exc:
        try:
            value = jsontext.lenient(data)
        except ValueError:
            raise Unreadable(f"not JSON: {short(str(exc), 200)}") from exc
    if not isinstance(value, dict):
        raise Unreadable("not an object")
    return value


def tools(data: str, value: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools of a pause or a run."""
    found = value.get("tools")
    if not isinstance(found, list) or not found:
        return ()
    trouble = jsontext.problem(data)  # a key that comes twice, say: parsers would see other calls
    try:
        raws: Sequence[str] = jsontext.raw_items(jsontext.raw_slice(data, ["tools"]))
    except (ValueError, LookupError):
        raws = []
    if len(raws) != len(found):
        raws = [""] * len(found)
    return tuple(
        Tool(item if isinstance(item, dict) else {}, raw, trouble) for item, raw in zip(found, raws, strict=True)
    )


def run(data: str) -> Seen:
    """The run in the answer to a GET. Raises Unreadable where there is none."""
    value = parse(data)
    if not isinstance(value.get("status"), str) or not isinstance(value.get("run_id"), str):
        raise Unreadable("no run in it: no run_id or no status")
    return Seen(
        run_id=string(value["run_id"]),
        session_id=string(value.get("session_id")),
        word=string(value["status"]).upper(),
        tools=tools(data, value),
        lists=isinstance(value.get("tools"), list),
        content=string(value.get("content")),
    )


def event_index(data: str) -> int | None:
    """The event's place on its run's stream; it grows, and jumps."""
    if '"event_index"' not in data:
        return None
    try:
        value = jsontext.quick(data)
    except ValueError:
        return None
    found = value.get("event_index") if isinstance(value, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**53 else None


def string(value: Any) -> str:
    """A text, storable; empty for anything else."""
    return text(value)[0] if isinstance(value, str) else ""
