"""Middesk's objects as JSON text: a run as it stood at a moment, dressed for the wire.

A moment of a run ("portrait") is kept as one JSON object of ours, in which the value of each interrupt is text: so it
keeps its spelling, valid or not, wherever it is shown. Source: docs.middesk.com reference/run, work-with-agents, read
2026-11.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from streams.emulator.state import Frame, Run

ACCOUNT = {"id": "7a1d0f5e-2b8c-4a57-9a41-6f0c7e1d2b90", "name": "Demo account", "email": None}
OLD_WORDS = {"running": "pending", "error": "failed"}  # an older copy of reference/run
STRANGE_WORDS = {"running": "reviewing"}


@dataclass(frozen=True, slots=True)
class Dress:
    """How a run is shown: the documented way, or as faults say."""

    words: str = ""  # old, unknown
    fields: str = ""  # snake, camel: more fields in each event
    shape: str = ""  # steps-only, no-interrupts
    respelled: bool = False

    def status(self, status: str) -> str:
        words = {"old": OLD_WORDS, "unknown": STRANGE_WORDS}.get(self.words, {})
        return words.get(status, status)


PLAIN = Dress()


@dataclass(frozen=True, slots=True)
class Asked:
    """An interrupt in a portrait: `text` is its value as it is spelled."""

    id: str
    text: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A run at a moment."""

    at: str
    status: str = "running"
    steps: Sequence[dict[str, Any]] = ()
    interrupts: Sequence[Asked] = ()
    output: Sequence[dict[str, Any]] | None = None
    ended_at: str | None = None

    def packed(self) -> str:
        """For the state's file."""
        asked = [[one.id, one.text, one.agent] for one in self.interrupts]
        own = {"at": self.at, "status": self.status, "ended_at": self.ended_at}
        return json.dumps({**own, "steps": list(self.steps), "interrupts": asked, "output": self.output})

    def without(self, settled: Callable[[str], bool]) -> "Portrait":
        """The same, but for interrupts that were settled since; it runs again where none is left."""
        left = [one for one in self.interrupts if not settled(one.id)]
        if len(left) == len(self.interrupts):
            return self
        return replace(self, interrupts=left, status=self.status if left else "running")


def unpack(text: str) -> Portrait:
    """What `packed` packed."""
    kept = json.loads(text)
    return Portrait(**{**kept, "interrupts": [Asked(*one) for one in kept["interrupts"]]})


def iso(seconds: float) -> str:
    """A time as Middesk writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- texts


def run_text(run: Run, portrait: Portrait, dress: Dress = PLAIN, *, steps: bool) -> str:
    """A Run object. `steps` only where the caller asked for them."""
    fields: dict[str, Any] = {
        "object": "run",
        "id": run.id,
        "created_at": iso(run.at),
        "updated_at": portrait.at,
        "status": dress.status(portrait.status),
        "thread_id": run.thread,
        "agent": run.scenario,
        "requester": ACCOUNT,
        "started_at": iso(run.at),
        "ended_at": portrait.ended_at,
        "output": None if portrait.output is None else {"artifacts": portrait.output},
    }
    if steps:
        fields["steps"] = [_step(step, dress) for step in portrait.steps]
    text = compact(fields)
    if dress.shape == "no-interrupts":
        return text
    interrupts = ",".join(_interrupt(one, dress) for one in portrait.interrupts)
    return f'{text[:-1]},"interrupts":[{interrupts}]}}'


def _step(step: dict[str, Any], dress: Dress) -> dict[str, Any]:
    shown = {**step, "steps": [_step(one, dress) for one in step["steps"]]}
    if dress.words == "old" and "agent" in shown:
        shown["graph"] = shown.pop("agent")
    return shown


def _interrupt(asked: Asked, dress: Dress) -> str:
    """The value goes in as it is spelled: its text is what the reviewer's answer is bound to."""
    value = _respelled(asked.text) if dress.respelled else asked.text
    agent = f',"agent":{compact(asked.agent)}' if asked.agent else ""
    return f'{{"id":{compact(asked.id)},"value":{value}{agent}}}'


def _respelled(text: str) -> str:
    """The same value in other words: sorted keys, ASCII only, spaces."""
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(" , ", " : "))
    except (ValueError, RecursionError):
        return text


def event_text(run: Run, frame: Frame, dress: Dress = PLAIN) -> str:
    """An event's JSON. Documented are `run_id` and `snapshot`; the rest only as a fault."""
    kept = json.loads(frame.data)
    fields: dict[str, Any] = {"run_id": run.id}
    if dress.fields == "snake":
        fields = {"type": frame.event, **fields, "thread_id": run.thread, "timestamp": kept["at"]}
    elif dress.fields == "camel":
        fields = {"type": frame.event, "runId": run.id, "threadId": run.thread, "timestamp": kept["at"]}
    if "message" in kept:
        fields["message"] = kept["message"]
    text = compact(fields)
    if frame.event != "STATE_SNAPSHOT":
        return text
    return f'{text[:-1]},"snapshot":{_snapshot(run, unpack(frame.data), dress)}}}'


def _snapshot(run: Run, portrait: Portrait, dress: Dress) -> str:
    if dress.shape != "steps-only":
        return run_text(run, portrait, dress, steps=True)
    return compact({"steps": [_step(step, dress) for step in portrait.steps], "artifacts": portrait.output or []})


def errors(message: str, parameter: str = "") -> dict[str, object]:
    """An error's body: always an array. Source: build/status-codes-errors, read 2026-11."""
    return {"errors": [{"message": message, **({"parameter": parameter} if parameter else {})}]}


def listing(items: Sequence[str], *, more: bool, total: int) -> str:
    """A list's envelope around JSON texts."""
    data = ",".join(items)
    return f'{{"object":"list","has_more":{compact(more)},"data":[{data}],"total_count":{total}}}'


def compact(value: object) -> str:
    """JSON as Middesk spells it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
