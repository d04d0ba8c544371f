"""A thread's state and its interrupts in what the platform sends: where they lie, and what they say. Pure.

Source: langgraph-api 0.16.7 as it answered on loopback, 2026-11 (tests/tapes/langgraph_platform). A stream has
interrupts in `updates` under `__interrupt__`, one event for each; `GET /threads/{id}/state` has them in `interrupts`
and in its `tasks`, without those that were answered, even while their run goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from streams import jsontext
from streams.events import short, text

INTERRUPT: Final = "__interrupt__"
Path = tuple[str | int, ...]


class Unreadable(ValueError):
    """A payload in which nothing of a thread can be found; the message says why."""


@dataclass(frozen=True, slots=True)
class Raised:
    """One interrupt as a payload shows it. `raw`: exactly as it came; empty where it cannot be cut out."""

    item: Mapping[str, Any]
    raw: str
    trouble: str = ""  # what is wrong with the payload around it


@dataclass(frozen=True, slots=True)
class Seen:
    """A thread as one answer to `GET /threads/{id}/state` shows it."""

    raised: tuple[Raised, ...]
    begun: bool  # there is a checkpoint: a thread without one has not begun, although nothing is next either
    next: bool  # something is to run still
    error: str  # of a task that failed; empty where none did
    at_ms: int  # when its checkpoint was made, by the server's clock; 0: not said
    checkpoint: str
    assistant: str  # whose run made the checkpoint


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


def raised(data: str, found: Any, path: Path) -> tuple[Raised, ...]:
    """The interrupts of a list at a path of a payload."""
    if not isinstance(found, list) or not found:
        return ()
    trouble = jsontext.problem(data)  # a key that comes twice, say: parsers would see other questions
    try:
        raws: Sequence[str] = jsontext.raw_items(jsontext.raw_slice(data, path))
    except (ValueError, LookupError):
        raws = [""] * len(found)
    if len(raws) != len(found):
        raws = [""] * len(found)
    return tuple(
        Raised(item if isinstance(item, dict) else {}, raw, trouble) for item, raw in zip(found, raws, strict=True)
    )


def state(data: str) -> Seen:
    """The thread in the answer to a GET of its state. Raises Unreadable where there is none."""
    value = parse(data)
    if not isinstance(value.get("next"), list) or not isinstance(value.get("tasks"), list):
        raise Unreadable("no thread in it: neither what is next nor its tasks")
    tasks = [(place, task) for place, task in enumerate(value["tasks"]) if isinstance(task, dict)]
    found = value.get("interrupts")
    items = raised(data, found, ("interrupts",))
    if not isinstance(found, list):  # older servers have them in the tasks alone
        for place, task in tasks:
            items += raised(data, task.get("interrupts"), ("tasks", place, "interrupts"))
    errors = [task["error"] for _, task in tasks if task.get("error")]
    metadata = value.get("metadata")
    assistant = metadata.get("assistant_id") if isinstance(metadata, dict) else None
    checkpoint = value.get("checkpoint")
    named = checkpoint.get("checkpoint_id") if isinstance(checkpoint, dict) else None
    return Seen(
        raised=items,
        begun=isinstance(checkpoint, dict) or bool(value.get("created_at")),
        next=bool(value["next"]),
        error=short(errors[0] if isinstance(errors[0], str) else jsontext.dumps(errors[0]), 500) if errors else "",
        at_ms=_ms(value.get("created_at")),
        checkpoint=short(string(named), 100),
        assistant=short(string(assistant), 200),
    )


def sent_ms(frame_id: str) -> int:
    """When an event was sent, from its id `<ms>-<n>`; 0 where it does not say."""
    ms, _, n = frame_id.partition("-")
    return int(ms) if ms.isascii() and ms.isdigit() and n.isdigit() and len(ms) < 16 else 0


def _ms(said: Any) -> int:
    try:
        return int(datetime.fromisoformat(said).timestamp() * 1000) if isinstance(said, str) else 0
    except (ValueError, OverflowError):
        return 0


def string(value: Any) -> str:
    """A text, storable; empty for anything else."""
    return text(value)[0] if isinstance(value, str) else ""
