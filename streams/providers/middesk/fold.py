"""Fold Middesk's stream and the run's own answers: what is asked, what is over, when the run must be read.

RUN_FINISHED is no proof of an end, and how the stream of an interrupted run ends is not documented: only a GET of the
run concludes (docs.middesk.com/work-with-agents/stream-runs and /reference/run, read 2026-11; that rule is ours).
Snapshots ask questions, since none may be lost; only a GET takes them back, since a replayed snapshot may be old.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from streams import jsontext
from streams.events import Asked, Broken, Ended, Fact, Gone, Paused, ReadBack, Started, sha256, short
from streams.providers.middesk import questions, wire
from streams.providers.middesk.wire import COMPLETED, FAILED, INTERRUPTED, RUNNING, Seen, Unreadable

STARTED, SNAPSHOT, FINISHED, ERROR = "RUN_STARTED", "STATE_SNAPSHOT", "RUN_FINISHED", "RUN_ERROR"
THREAD_LIMIT = 255
GONE_MAX = 200


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was asked. `sure`: one more read-back without it says that it is answered elsewhere."""

    id: str
    fingerprint: str
    sure: bool = False
    unfit: bool = False  # as it was told last, it cannot be approved
    missed: bool = False  # a read-back did not list it, and only another one brings it back


@dataclass(frozen=True, slots=True)
class State:
    """What the run has shown so far."""

    run_id: str = ""
    thread_id: str = ""
    hears_reason: bool = False
    open: tuple[Open, ...] = ()
    gone: tuple[str, ...] = ()  # ids that read-backs stopped listing; an agent may ask again under the same one
    told: str = (
        ""  # hash of what the last snapshot said of status, questions and steps that wait: a change is read back
    )
    error: str = ""  # words of a RUN_ERROR, for the case that the run then turns out failed
    ended: bool = False


def dump(state: State) -> str:
    """For the checkpoint."""
    return jsontext.dumps(asdict(state))


def load(said: str) -> State:
    """From dump()'s text."""
    fields = json.loads(said)
    found = {"open": tuple(Open(**one) for one in fields["open"]), "gone": tuple(fields.get("gone", ()))}
    return State(**{**fields, **found})


def step(state: State, kind: str, data: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold one frame of the stream. Never raises for what a provider sent."""
    try:
        event = wire.parse(data)
    except Unreadable as exc:  # it may have been the one that asks
        return state, (
            Broken(short(f"{short(kind, 100)}: {exc}", 500)),
            *_paused(state),
            *_read(state, "a broken event"),
        )
    if state.ended:  # a replay behind the end, which reopens nothing
        return state, _strange(kind)
    if not wire.same_id(wire.field(event, "run_id"), state.run_id):
        facts: tuple[Fact, ...] = (Broken(short(f"{short(kind, 100)} names another run", 500)), *_paused(state))
        return state, facts if kind == STARTED else (*facts, *_read(state, "an event that names another run"))
    match kind:
        case "RUN_STARTED":
            thread_id = short(wire.field(event, "thread_id"), THREAD_LIMIT)
            return replace(state, thread_id=state.thread_id or thread_id), (Started(thread_id=thread_id),)
        case "STATE_SNAPSHOT":
            return _snapshot(state, data, event)
        case "RUN_FINISHED":
            return state, (*_paused(state), ReadBack("the stream says that it is finished"))
        case "RUN_ERROR":
            words = wire.string(event.get("message")) or wire.string(event.get("error")) or wire.field(event, "code")
            return replace(state, error=short(words, 500)), (*_paused(state), ReadBack("the stream tells of an error"))
    return state, (*_strange(kind), *_paused(state))


def at_eof(state: State) -> tuple[Fact, ...]:
    """The end of the body proves nothing; after retention it may come at once, with nothing before it."""
    return _read(state, "the stream was closed")


def read_run(state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold the answer to a GET of the run: it alone ends runs and takes questions back. Never raises."""
    try:
        seen = wire.body(body)
    except Unreadable as exc:
        return state, (Broken(short(f"the run as read: {exc}", 500), useless=True), *_paused(state))
    if not wire.same_id(wire.field(seen.run, "id") or wire.field(seen.run, "run_id"), state.run_id):
        return state, (Broken("the run as read is another run", useless=True), *_paused(state))
    thread_id = short(wire.field(seen.run, "thread_id"), THREAD_LIMIT)
    facts: list[Fact] = []
    if thread_id and not state.thread_id:
        state, facts = replace(state, thread_id=thread_id), [Started(thread_id=thread_id)]
    if state.ended:
        return state, ()
    if seen.status in (COMPLETED, FAILED):
        state, told = _ended(state, seen)
    else:
        state, told = _still_on(state, seen)
    return state, (*facts, *told)


# --- the stream's snapshots -----------------------------------------------------------------------------------------


def _snapshot(state: State, data: str, event: Mapping[str, Any]) -> tuple[State, tuple[Fact, ...]]:
    seen = wire.find(data, event, wire.SNAPSHOT)
    if seen is None:
        return state, (
            Broken("STATE_SNAPSHOT without a run in it"),
            *_paused(state),
            *_read(state, "a broken snapshot"),
        )
    asked = questions.read(seen, hears_reason=state.hears_reason)
    state, fresh = _take(state, asked, sure=False)
    facts: list[Fact] = [*fresh]
    if seen.interrupts is not None:  # what the run itself stopped listing needs one read-back, not two
        listed = {one.call_id for one in asked}
        kept = tuple(one if one.id in listed else replace(one, sure=True) for one in state.open)
        state = replace(state, open=kept)
    facts += _waits(state, seen, bool(asked))
    told = _telling(seen, asked)
    if told != state.told:
        smells = bool(asked or state.open) or seen.status != RUNNING or _hint(seen)
        state = replace(state, told=told)
        facts += [ReadBack("a snapshot tells of a change that only the run itself confirms")] if smells else []
    return state, (*facts, *_odd(seen))


def _telling(seen: Seen, asked: tuple[Asked, ...]) -> str:
    waiting = sorted({wire.string(step.get("id")) for _, step in wire.steps(seen.run) if wire.is_open_question(step)})
    prints = sorted(f"{one.call_id} {questions.fingerprint(one.tool, one.arguments)}" for one in asked)
    return sha256(jsontext.dumps([seen.word, seen.interrupts is not None, prints, waiting]))


def _hint(seen: Seen) -> bool:
    """A step waits for a person, and the payload does not name the question: only the run itself knows its id."""
    return seen.interrupts is None and any(wire.is_open_question(step) for _, step in wire.steps(seen.run))


def _waits(state: State, seen: Seen, asks: bool) -> tuple[Fact, ...]:
    """Whether the run waits for a person as far as this payload knows."""
    silent = seen.interrupts is None and bool(state.open) and seen.status != RUNNING
    return (Paused(),) if asks or silent or seen.status == INTERRUPTED else ()


# --- the run itself -------------------------------------------------------------------------------------------------


def _ended(state: State, seen: Seen) -> tuple[State, tuple[Fact, ...]]:
    """The last word. On a run that completed, its open questions were answered by somebody; on a failed one not."""
    facts: list[Fact] = [Broken("the run is over and still lists questions")] if seen.interrupts else []
    word = short(seen.word, 60)
    if seen.status == COMPLETED:
        facts += [Gone(tuple(one.id for one in state.open))] if state.open else []
        facts.append(Ended("finished", COMPLETED))
    else:
        facts.append(Ended("failed", word, _words(seen) or state.error))
    return replace(state, open=(), ended=True), tuple(facts)


def _still_on(state: State, seen: Seen) -> tuple[State, tuple[Fact, ...]]:
    asked = questions.read(seen, hears_reason=state.hears_reason)
    listed = {one.call_id for one in asked}
    missing = tuple(one for one in state.open if one.id not in listed)
    knows = seen.interrupts is not None or seen.status == RUNNING
    state, fresh = _take(state, asked, sure=True)
    facts: list[Fact] = [*fresh]
    if knows and missing:
        state, told = _miss(state, missing)
        facts += told
    facts += _waits(state, seen, bool(asked))
    if seen.status == INTERRUPTED and not asked:
        facts.append(Broken("the run is interrupted and names no interrupt"))
    return state, (*facts, *_odd(seen))


def _miss(state: State, missing: tuple[Open, ...]) -> tuple[State, tuple[Fact, ...]]:
    """Questions that a read-back does not list. One that only the stream has shown may not have reached the API yet."""
    gone = tuple(one.id for one in missing if one.sure)
    doubted = {one.id for one in missing if not one.sure}
    kept = tuple(
        replace(one, sure=True, missed=True) if one.id in doubted else one for one in state.open if one.id not in gone
    )
    facts: tuple[Fact, ...] = (Gone(gone),) if gone else ()
    if doubted:
        facts = (*facts, ReadBack("a question that the stream asked is not in the run yet, or no longer"))
    known = (*(one for one in state.gone if one not in gone), *gone)
    return replace(state, open=kept, gone=known[-GONE_MAX:]), facts


# --- both -----------------------------------------------------------------------------------------------------------


def _take(state: State, asked: tuple[Asked, ...], *, sure: bool) -> tuple[State, tuple[Asked, ...]]:
    """Questions that are new or have changed; the state knows them all from now on."""
    known = {one.id: one for one in state.open}
    fresh = []
    for one in asked:
        print_ = questions.fingerprint(one.tool, one.arguments)
        before = known.get(one.call_id)
        missed = before.missed if before is not None else one.call_id in state.gone
        if before is None or before.fingerprint != print_ or (sure and missed):
            fresh.append(one)
        sure_now = sure or (before is not None and before.sure)
        known[one.call_id] = Open(one.call_id, print_, sure_now, unfit=bool(one.problem), missed=missed and not sure)
    return replace(state, open=tuple(known.values())), tuple(fresh)


def _paused(state: State) -> tuple[Fact, ...]:
    """An event that says nothing about questions does not make a waiting run go on."""
    return (Paused(),) if state.open else ()


def _read(state: State, why: str) -> tuple[Fact, ...]:
    return () if state.ended else (ReadBack(why),)


def _strange(kind: str) -> tuple[Fact, ...]:
    if kind in (STARTED, SNAPSHOT, FINISHED, ERROR):
        return ()
    return (Broken(f"{short(kind, 100)}: an event that the documentation does not name"),)


def _odd(seen: Seen) -> tuple[Fact, ...]:
    """What breaks the contract without hiding anything."""
    told = seen.run.get("interrupts")
    if told is not None and not isinstance(told, list):
        return (Broken("interrupts is not a list"),)
    if len(seen.interrupts or ()) > questions.QUESTIONS_MAX:
        return (Broken(f"more than {questions.QUESTIONS_MAX} interrupts: the others are not shown"),)
    if seen.word and not seen.status:
        return (Broken(f"a status that the documentation does not name: {short(seen.word, 60)}"),)
    return ()


def _words(seen: Seen) -> str:
    """Why a run failed: no field is documented for it, so the likely ones, then the step that failed."""
    for name in ("error", "message"):
        found = seen.run.get(name)
        found = found.get("message") if isinstance(found, dict) else found
        if isinstance(found, str) and found:
            return short(found, 500)
    failed = [step for _, step in wire.steps(seen.run) if step.get("type") == "error" or step.get("status") == "error"]
    label = next((said for step in reversed(failed) if (said := wire.string(step.get("label")))), "")
    return short(f"failed at: {label}", 500) if label else ""
