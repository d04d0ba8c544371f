"""Fold an agent's run and its stream: what is asked, what is over, when the run must be read. Pure.

A stream asks, so that nothing is lost; it ends nothing. Only the run itself (`GET .../runs/{run_id}`) takes questions
back and ends it: a late answer makes a run that is over go on, and a repeat was seen to pause it for a call that ran
already. A call that ran never asks again (agno 3.1.10, 2026-11).
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from streams import jsontext
from streams.events import Asked, Broken, Ended, Executed, Fact, Gone, Paused, ReadBack, Started, short
from streams.providers.agno import questions, wire
from streams.providers.agno.wire import Seen, Tool, Unreadable

PAUSED: Final = "RunPaused"
READ_AT: Final = frozenset({"RunContinued", "RunCompleted", "RunError", "RunCancelled", "error"})
GONE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Open:
    """A question that was asked. `sure`: a reading listed it, so one without it says that it is answered."""

    id: str
    fingerprint: str
    raw: str  # the tool as it came, which goes back with the answer
    sure: bool = False
    unfit: bool = False  # as it was told last, it cannot be approved


@dataclass(frozen=True, slots=True)
class State:
    """What the run has shown so far."""

    run_id: str = ""
    session_id: str = ""
    open: tuple[Open, ...] = ()
    asking: tuple[str, ...] = ()  # ids of the pause as it was told last, which one answer must cover
    ran: tuple[str, ...] = ()  # calls that ran: they never ask again
    gone: tuple[str, ...] = ()  # ids that readings stopped listing
    error: str = ""
    ended: bool = False


def dump(state: State) -> str:
    """For the checkpoint."""
    return jsontext.dumps(asdict(state))


def load(said: str) -> State:
    """From dump()'s text."""
    fields = json.loads(said)
    made = {"open": tuple(Open(**one) for one in fields["open"])}
    return State(**{**fields, **made, **{name: tuple(fields[name]) for name in ("asking", "ran", "gone")}})


def step(state: State, kind: str, data: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold one frame of the stream. Never raises for what a provider sent."""
    try:
        event = wire.parse(data)
    except Unreadable as exc:  # it may have been the one that asks
        broken = Broken(short(f"{short(kind, 100)}: {exc}", 500))
        return state, (broken, *_paused(state), *_read(state, "a broken event"))
    told = event.get("run_id")
    if isinstance(told, str) and state.run_id and told != state.run_id:  # a member of a team, or a repeat's own run
        return state, (*_paused(state), *_strange(kind, event, "names another run"))
    match kind:
        case "RunStarted":
            session_id = short(wire.string(event.get("session_id")), 255)
            state = replace(state, session_id=state.session_id or session_id)
            return state, (Started(thread_id=session_id), *_paused(state))
        case "RunPaused":
            return _pause(state, wire.tools(data, event))
        case "ToolCallStarted" | "ToolCallCompleted" | "ToolCallError":
            return _runs(state, kind, data, event.get("tool"))
        case "RunError" | "error":
            words = wire.string(event.get("content")) or wire.string(event.get("error"))
            state = replace(state, error=short(words, 500))
    if kind in READ_AT:
        return state, (*_paused(state), *_read(state, f"the stream says {short(kind, 50)}"))
    return state, (*_paused(state), *_strange(kind, event, "an event without a name of its own"))


def at_eof(state: State) -> tuple[Fact, ...]:
    """The end of the body: a stream closes at a pause, too."""
    return _read(state, "the stream was closed")


def read_run(state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
    """Fold the answer to a GET of the run. Never raises."""
    try:
        seen = wire.run(body)
    except Unreadable as exc:
        return state, (Broken(short(f"the run as read: {exc}", 500), useless=True), *_paused(state))
    if state.run_id and seen.run_id != state.run_id:
        return state, (Broken("the run as read is another run", useless=True), *_paused(state))
    if state.ended:
        return state, ()
    facts: list[Fact] = []
    if seen.session_id and not state.session_id:
        state, facts = replace(state, session_id=short(seen.session_id, 255)), [Started(thread_id=seen.session_id)]
    state = _ran(state, seen.tools)
    match seen.status:
        case wire.WAITING:
            state, told = _waits(state, seen)
        case wire.GOING:
            state, told = _missing(state, set())
        case wire.COMPLETED | wire.FAILED | wire.CANCELLED:
            state, told = _ended(state, seen)
        case _:
            told = (Broken(f"a status that the documentation does not name: {short(seen.word, 60)}"), *_paused(state))
    return state, (*facts, *told)


# --- the stream ------------------------------------------------------------------------------------------------------


def _pause(state: State, found: tuple[Tool, ...]) -> tuple[State, tuple[Fact, ...]]:
    state = _ran(state, found)
    asked = _askable(state, found)
    state, fresh = _take(state, asked, found, sure=False)
    return state, (*fresh, *_paused(state), *_read(state, "the stream says that the run is paused"))


def _runs(state: State, kind: str, data: str, found: Any) -> tuple[State, tuple[Fact, ...]]:
    """A call begins to run or did: what it ran with is held against what was approved."""
    item = found if isinstance(found, dict) else {}
    call_id = item.get("tool_call_id")
    if not isinstance(call_id, str) or not call_id:
        return state, _paused(state)
    facts: tuple[Fact, ...] = ()
    if kind == "ToolCallStarted" and item.get("confirmed") is True:
        try:
            spelled = jsontext.raw_slice(data, ["tool", "tool_args"])
        except (ValueError, LookupError):
            spelled = ""
        tool, shown = short(wire.string(item.get("tool_name")), 300), wire.string(spelled)
        facts = (Executed(short(wire.string(call_id), 300), tool, shown),) if shown else ()
    known = tuple(one for one in state.open if one.id != call_id)
    facts = (*facts, *(_read(state, "a call that was asked about runs") if len(known) < len(state.open) else ()))
    return replace(state, ran=_with(state.ran, (call_id,))), (*facts, *_paused(state))


# --- the run itself --------------------------------------------------------------------------------------------------


def _waits(state: State, seen: Seen) -> tuple[State, tuple[Fact, ...]]:
    asked = _askable(state, seen.tools)
    state, fresh = _take(state, asked, seen.tools, sure=True)
    state, gone = _missing(state, {one.call_id for one in asked}) if seen.lists else (state, _paused(state))
    odd = () if asked or not seen.lists else (Broken("the run is paused and names no call that waits"),)
    return state, (*fresh, *gone, Paused(), *odd)


def _ended(state: State, seen: Seen) -> tuple[State, tuple[Fact, ...]]:
    """The last word. On a run that completed, its open questions were answered by somebody; on another one not."""
    facts: list[Fact] = []
    if seen.status == wire.COMPLETED:
        facts += [Gone(tuple(one.id for one in state.open))] if state.open else []
        facts.append(Ended("finished", "completed"))
    elif seen.status == wire.CANCELLED:
        facts.append(Ended("cancelled", "cancelled"))
    else:
        facts.append(Ended("failed", "error", state.error or short(seen.content, 500)))
    return replace(state, open=(), ended=True), tuple(facts)


def _missing(state: State, listed: set[str]) -> tuple[State, tuple[Fact, ...]]:
    """Questions that a reading does not list. One that only the stream has shown may not be in the run yet."""
    missing = [one for one in state.open if one.id not in listed]
    gone = tuple(one.id for one in missing if one.sure or one.id in state.ran)
    kept = tuple(replace(one, sure=True) if one.id not in listed else one for one in state.open if one.id not in gone)
    facts: list[Fact] = [Gone(gone)] if gone else []
    if len(gone) < len(missing):
        facts.append(ReadBack("a question that the stream asked is not in the run yet, or no longer"))
    state = replace(state, open=kept, gone=_with(state.gone, gone))
    return state, (*facts, *_paused(state))


# --- both ------------------------------------------------------------------------------------------------------------


def _askable(state: State, found: tuple[Tool, ...]) -> tuple[Asked, ...]:
    return questions.read([tool for tool in found if tool.id not in state.ran or not tool.id])


def _take(
    state: State, asked: tuple[Asked, ...], found: tuple[Tool, ...], *, sure: bool
) -> tuple[State, tuple[Asked, ...]]:
    """Questions that are new or have changed; the state knows them all from now on."""
    known, raws = {one.id: one for one in state.open}, {tool.id: tool.raw for tool in found}
    fresh = []
    for one in asked:
        print_, before = questions.fingerprint(one.tool, one.arguments), known.get(one.call_id)
        if before is None and not sure and one.call_id in state.gone:
            continue  # what a reading stopped listing only another one brings back
        if before is None or before.fingerprint != print_:
            fresh.append(one)
        sure_now = sure or (before is not None and before.sure)
        raw = raws.get(one.tool_call_id, "")
        known[one.call_id] = Open(one.call_id, print_, raw, sure_now, unfit=bool(one.problem))
    gone = tuple(one for one in state.gone if one not in known)
    asking = tuple(one.call_id for one in asked)
    return replace(state, open=tuple(known.values()), asking=asking, gone=gone), tuple(fresh)


def _ran(state: State, found: tuple[Tool, ...]) -> State:
    return replace(state, ran=_with(state.ran, tuple(tool.id for tool in found if tool.done and tool.id)))


def _with(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return (*(one for one in known if one not in more), *more)[-GONE_MAX:]


def _paused(state: State) -> tuple[Fact, ...]:
    """An event that says nothing of questions does not make a waiting run go on."""
    return (Paused(),) if state.open else ()


def _read(state: State, why: str) -> tuple[Fact, ...]:
    return () if state.ended else (ReadBack(why),)


def _strange(kind: str, event: Any, why: str) -> tuple[Fact, ...]:
    """Kinds are many and grow; an event that does not say its own kind is none of them."""
    return () if event.get("event") == kind and why.startswith("an event") else (Broken(f"{short(kind, 100)}: {why}"),)
