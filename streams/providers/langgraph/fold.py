"""Fold a thread's stream and its state: what is asked, what is over, when the state must be read. Pure.

A stream asks, so that nothing is lost; it ends nothing, for it tells a thread's runs and not how the thread stands.
Only the state takes questions back and ends a thread (langgraph-api 0.16.7, 2026-11): without `next` it is done, with
an error in a task it failed; a thread without a checkpoint has not begun. Since a run of the thread may be about to
begin, an end counts once the stream has said `run_done` of the last one, or once several readings in a row say it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from streams import jsontext
from streams.events import Asked, Broken, Ended, Fact, Gone, Paused, ReadBack, Started, short
from streams.providers.langgraph import questions, wire
from streams.providers.langgraph.questions import Form, Question
from streams.providers.langgraph.wire import INTERRUPT, Seen, Unreadable

METADATA, UPDATES, VALUES, ERROR = "metadata", "updates", "values", "error"
OTHERS: Final = ("messages", "custom", "debug", "events", "tasks", "checkpoints", "end", "feedback", "lifecycle")
GONE_MAX: Final = 500
READINGS: Final = {"": 5, "running": 30}  # in a row that say the same end, where the stream said nothing, or otherwise


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was asked. `sure`: a reading listed it, so one without it says that it is answered."""

    id: str
    fingerprint: str
    form: Form
    sure: bool = False
    unfit: bool = False  # as it was told last, it cannot be approved


@dataclass(frozen=True, slots=True)
class State:
    """What the thread has shown so far."""

    thread_id: str = ""
    own: bool = False  # the account's options say what a yes and a no look like
    hears: bool = False  # their no has a place for a reason
    assistant: str = ""  # whose run made the last checkpoint that was read
    open: tuple[Open, ...] = ()
    gone: tuple[str, ...] = ()  # ids that readings stopped listing
    read_ms: int = 0  # when the last checkpoint that was read was made: what was asked before, it lists or it is over
    at: str = ""  # of the last run that the stream told of: running or done
    ends: str = ""  # the end that the last reading saw, and how many in a row saw it
    seen: int = 0
    error: str = ""
    ended: bool = False


def dump(state: State) -> str:
    """For the checkpoint."""
    return jsontext.dumps(asdict(state))


def load(said: str) -> State:
    """From dump()'s text."""
    fields = json.loads(said)
    opened = tuple(Open(**{**one, "form": _form(one["form"])}) for one in fields["open"])
    return State(**{**fields, "open": opened, "gone": tuple(fields["gone"])})


def _form(fields: Mapping[str, Any]) -> Form:
    actions = tuple((name, tuple(allowed)) for name, allowed in fields["actions"])
    return Form(fields["shape"], actions, fields["schema"])


def kind_of(event: str) -> str:
    """An event's name; that of a subgraph has its namespace behind a bar."""
    return event.partition("|")[0]


def step(state: State, kind: str, data: str, frame_id: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold one frame of the stream. Never raises for what a provider sent."""
    name = kind_of(kind)
    if name in OTHERS:
        return state, _paused(state)
    try:
        event = wire.parse(data)
    except Unreadable as exc:  # it may have been the one that asks
        broken = Broken(short(f"{short(kind, 100)}: {exc}", 500))
        return state, (broken, *_paused(state), *_read(state, "a broken event"))
    match name:
        case "metadata":
            return _metadata(state, event)
        case "updates" | "values":
            return _update(state, event, data, frame_id)
        case "error":
            words = wire.string(event.get("message")) or wire.string(event.get("error"))
            state = replace(state, error=short(words, 500))
            return state, (*_paused(state), *_read(state, "the stream tells of an error"))
    told = Broken(f"{short(kind, 100)}: an event that the documentation does not name")
    return state, (told, *_paused(state))


def at_eof(state: State) -> tuple[Fact, ...]:
    """The end of the body says nothing of the thread."""
    return _read(state, "the stream was closed")


def read_run(state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold the answer to a GET of the thread's state. Never raises."""
    try:
        seen = wire.state(body)
    except Unreadable as exc:
        return state, (Broken(short(f"the thread as read: {exc}", 500), useless=True), *_paused(state))
    if state.ended:
        return state, ()
    state = replace(state, read_ms=max(state.read_ms, seen.at_ms), assistant=seen.assistant or state.assistant)
    asked = questions.read(seen.raised, own=state.own, hears=state.hears)
    state, fresh = _take(state, asked, sure=True)
    state, gone = _missing(state, {one.asked.call_id for one in asked}) if seen.begun else (state, ())
    facts: list[Fact] = [*fresh, *gone]
    if end := _end_of(seen):
        state, told = _ending(state, seen, end)
        return state, (*facts, *told)
    state = replace(state, ends="", seen=0)
    odd = len(seen.raised) > questions.QUESTIONS_MAX
    return state, (*facts, *_paused(state), *([Broken("too many interrupts: the others are not shown")] if odd else []))


# --- the stream ------------------------------------------------------------------------------------------------------


def _metadata(state: State, event: Mapping[str, Any]) -> tuple[State, tuple[Fact, ...]]:
    """A run of the thread begins (`{run_id, attempt}`) or is over (`{status: run_done, run_id}`)."""
    if event.get("status") == "run_done":
        return replace(state, at="done"), (*_paused(state), *_read(state, "a run of the thread is over"))
    begun: tuple[Fact, ...] = (Started(thread_id=state.thread_id),)
    return replace(state, at="running"), (*begun, *_paused(state), *(_read(state, "a run began") if state.open else ()))


def _update(state: State, event: Mapping[str, Any], data: str, frame_id: str) -> tuple[State, tuple[Fact, ...]]:
    found = wire.raised(data, event.get(INTERRUPT), (INTERRUPT,))
    if not found:
        broken = INTERRUPT in event and event[INTERRUPT] not in ([], None)
        facts: tuple[Fact, ...] = (Broken(f"{INTERRUPT} is not a list of interrupts"),) if broken else ()
        wants = broken or bool(state.open)
        return state, (*facts, *_paused(state), *(_read(state, "a node is done, or asks") if wants else ()))
    asked = questions.read(found, own=state.own, hears=state.hears)
    if 0 < wire.sent_ms(frame_id) < state.read_ms:
        asked = ()  # older than what was read since, which lists it or knows that it is over
    state, fresh = _take(state, asked, sure=False)
    return state, (*fresh, *_paused(state), *_read(state, "the stream asks"))


# --- the state -------------------------------------------------------------------------------------------------------


def _end_of(seen: Seen) -> str:
    if not seen.begun:
        return ""
    if seen.error:
        return "failed"
    return "" if seen.next or seen.raised else "finished"


def _ending(state: State, seen: Seen, end: str) -> tuple[State, tuple[Fact, ...]]:
    same = f"{end} {seen.checkpoint}"
    state = replace(state, ends=same, seen=state.seen + 1 if state.ends == same else 1)
    if state.at != "done" and state.seen < READINGS[state.at]:
        return state, (*_paused(state), ReadBack("the thread seems to be over, unless a run is about to begin"))
    words = seen.error or state.error
    if end == "finished":
        gone = (Gone(tuple(one.id for one in state.open)),) if state.open else ()
        return replace(state, open=(), ended=True), (*gone, Ended("finished", "completed"))
    return replace(state, open=(), ended=True), (Ended("failed", "error", words),)


def _missing(state: State, listed: set[str]) -> tuple[State, tuple[Fact, ...]]:
    """Questions that a reading does not list. One that only the stream has shown may not be in the state yet."""
    missing = [one for one in state.open if one.id not in listed]
    gone = tuple(one.id for one in missing if one.sure)
    kept = tuple(replace(one, sure=True) if one.id not in listed else one for one in state.open if one.id not in gone)
    known = (*(one for one in state.gone if one not in gone), *gone)[-GONE_MAX:]
    facts: list[Fact] = [Gone(gone)] if gone else []
    if len(gone) < len(missing):
        facts.append(ReadBack("a question that the stream asked is not in the thread's state yet, or no longer"))
    return replace(state, open=kept, gone=known), tuple(facts)


# --- both ------------------------------------------------------------------------------------------------------------


def _take(state: State, asked: tuple[Question, ...], *, sure: bool) -> tuple[State, tuple[Asked, ...]]:
    """Questions that are new or have changed; the state knows them all from now on.

    An interrupt's id is made of its task, so what a reading stopped listing only another reading brings back.
    """
    known = {one.id: one for one in state.open}
    fresh = []
    for one in asked:
        call_id, before = one.asked.call_id, known.get(one.asked.call_id)
        if before is None and not sure and call_id in state.gone:
            continue
        if before is None or before.fingerprint != one.fingerprint:
            fresh.append(one.asked)
        form = before.form if before is not None and not one.form.schema and before.form.schema else one.form
        sure_now = sure or (before is not None and before.sure)
        known[call_id] = Open(call_id, one.fingerprint, form, sure_now, unfit=bool(one.asked.problem))
    gone = tuple(one for one in state.gone if one not in known)
    return replace(state, open=tuple(known.values()), gone=gone), tuple(fresh)


def _paused(state: State) -> tuple[Fact, ...]:
    """Whatever another branch of the graph says, a question that is open waits for a person."""
    return (Paused(),) if state.open else ()


def _read(state: State, why: str) -> tuple[Fact, ...]:
    return () if state.ended else (ReadBack(why),)
