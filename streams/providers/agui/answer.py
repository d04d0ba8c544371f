"""The next run's input: every open question of the paused run answered, in one request.

Source: docs.ag-ui.com/spec/1.0 `basic/patterns/interrupt-resume` and docs.ag-ui.com/concepts/interrupts, read 2026-11;
the older ways as the servers of streams.dialects were observed. A refusal is `resolved` too; `cancelled` means that
nobody answered, and is used only where it is known to run nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from streams import dialects, jsontext
from streams.errors import WireError
from streams.events import canonical, text
from streams.providers.agui import calls, history, payload, told, wire
from streams.providers.agui.payload import CANCELLED, NOBODY, REFUSED
from streams.providers.agui.state import Ask, State
from streams.providers.base import Answer

APPROVED: Final = '{"approved":true}'
OURS: Final = "answer-"  # how ids of our own tool messages begin


def run_input(state: State, answers: Sequence[Answer], new_run_id: str, *, by_id: bool = False) -> dict[str, Any]:
    """RunAgentInput for the next run. Raises WireError where the wire cannot carry an answer.

    `by_id`: a server that does not look at the id of an answer gets it in a form in which it does.
    """
    if not state.asks:
        raise WireError("the run asks for nothing: no answer may be sent")
    if not new_run_id or new_run_id in (state.opening.run_id, state.run_id):
        raise WireError("an answer needs a run id of its own")
    by_key = {answer.question.call_id: answer for answer in answers}
    if len(by_key) != len(answers) or set(by_key) != {ask.key for ask in state.asks}:
        raise WireError("exactly the open questions are answered, all of them together")
    for ask in state.asks:
        _check_same_call(state, ask, by_key[ask.key])
    _check_carried(state.asks, by_key)
    remembered = _remembered(state.asks)
    messages = [] if remembered else list(history.outgoing(state.messages))
    theirs = [ask for ask in state.asks if not ask.frontend]
    channel = _channel(theirs, by_id=by_id)
    made = _options(state, channel)
    resume: Any = None
    match channel:
        case "resume":
            resume = _entries(theirs, by_key)
            messages += _one_message(theirs, new_run_id)
        case "object":
            resume = _object(theirs, by_key)
        case "command" | "keyed":
            made["forwardedProps"] = {**made["forwardedProps"], "command": _command(theirs, by_key, channel)}
        case "tool":
            messages += [_called(ask, by_key[ask.key]) for ask in theirs]
    messages += [_tool_message(ask, by_key[ask.key]) for ask in state.asks if ask.frontend]
    body = first_input(state.opening.thread_id, new_run_id, messages, made)
    return {**body, "resume": resume} if resume else body


def first_input(
    thread_id: str, run_id: str, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """RunAgentInput; empty lists and objects are sent, since old servers insist on the keys."""
    forwarded = options.get("forwardedProps")
    return {
        "threadId": thread_id,
        "runId": run_id,
        "protocolVersion": wire.VERSION,
        "state": options.get("state", {}),
        "messages": list(messages),
        "tools": list(options.get("tools") or []),
        "context": list(options.get("context") or []),
        "forwardedProps": {} if forwarded is None else forwarded,
    }


def encoded(body: Mapping[str, Any]) -> bytes:
    """As UTF-8 JSON. Raises WireError for what is none."""
    try:
        return jsontext.dumps(body).encode("ascii")
    except ValueError as exc:
        raise WireError(f"the input is not JSON: {exc}") from exc


def _channel(asks: Sequence[Ask], *, by_id: bool) -> str:
    """How the answers travel. Raises WireError where that would be in several ways at once."""
    channels = {ask.channel for ask in asks}
    if len(channels) > 1:
        raise WireError("the questions would have to be answered in several ways at once")
    exact = all(dialects.named(ask.dialect).several == "keyed" and told.KEYS.fullmatch(ask.id) for ask in asks)
    if by_id and asks and exact:
        return "keyed"
    return channels.pop() if channels else "tool"


def _options(state: State, channel: str) -> dict[str, Any]:
    """What goes along. A command was an answer, or a start's own: it must not be said again with the next answer."""
    opening, forwarded = state.opening, state.opening.forwarded
    if isinstance(forwarded, Mapping):
        forwarded = {key: value for key, value in forwarded.items() if key != "command"}
    elif channel in ("command", "keyed"):
        raise WireError("forwardedProps is no object, so that no command can be put into it")
    owned = any(not ask.frontend and dialects.named(ask.dialect).owns_state for ask in state.asks)
    value = {} if owned else state.value
    return {"state": value, "tools": opening.tools, "context": opening.context, "forwardedProps": forwarded}


def _remembered(asks: Sequence[Ask]) -> bool:
    """Whether the server keeps all that waits, so that the conversation does not go back, as it was recorded."""
    return any(dialects.named(ask.dialect).remembers for ask in asks if not ask.frontend)


# --- what must hold ---


def _check_same_call(state: State, ask: Ask, answer: Answer) -> None:
    """A server that keeps nothing runs the call that our conversation holds: it must be the one that was decided on."""
    if answer.verdict != "approve":
        return
    decided = _spelled(ask, answer)
    for one, arguments in zip(ask.members or (ask,), decided, strict=True):
        held = history.find_call(state.messages, one.tool_call_id) if one.tool_call_id else None
        same = calls.same_arguments if ask.dialect != dialects.PLAIN.name else _same_text
        if held and not same(held[1], arguments):
            raise WireError("the conversation holds other arguments than those that were approved")


def _same_text(one: str, other: str) -> bool:
    return canonical(one) == canonical(other)


def _spelled(ask: Ask, answer: Answer) -> list[str]:
    """The arguments of each call that an answer is for."""
    if not ask.members:
        return [answer.question.arguments]
    try:
        parts = jsontext.raw_items(answer.question.arguments)
        spelled = [jsontext.raw_slice(part, ["arguments"]) for part in parts]
    except (ValueError, LookupError) as exc:
        raise WireError("the calls that were decided on cannot be told apart") from exc
    if len(spelled) != len(ask.members):
        raise WireError("other calls were decided on than those that wait")
    return spelled


def _check_carried(asks: Sequence[Ask], by_key: Mapping[str, Answer]) -> None:
    """What several questions cannot be answered with was not offered either; this is the last look."""
    several = {(ask.channel, ask.id or ask.event or ask.key) for ask in asks if not ask.frontend}
    one_only = [ask for ask in asks if not ask.frontend and dialects.named(ask.dialect).several == "one"]
    if len(several) > 1 and any(by_key[ask.key].verdict == "approve" for ask in one_only):
        raise WireError(f"it cannot be approved with the others: {dialects.ONE_ONLY}")


# --- the ways an answer travels ---


def _payloads(asks: Sequence[Ask], by_key: Mapping[str, Answer]) -> dict[str, tuple[Ask, Any]]:
    """By interrupt, in the order in which they asked: what is answered to it."""
    made: dict[str, tuple[Ask, Any]] = {}
    lists: dict[str, list[tuple[int, Any]]] = {}
    for ask in asks:
        for one in ask.members or (ask,):
            answer = by_key[ask.key]
            found = payload.of(one, _for_member(one, answer, ask))
            group = one.id or one.event or one.key
            if dialects.named(one.dialect).shape == "decisions":
                lists.setdefault(group, []).append((one.place, found))
                found = {"decisions": [said for _, said in sorted(lists[group], key=lambda pair: pair[0])]}
            made[group] = (one, found)
    if any(sorted(place for place, _ in said) != list(range(len(said))) for said in lists.values()):
        raise WireError("an action of the question has no answer")
    return made


def rehearse(ask: Ask, answer: Answer) -> None:
    """Build what an answer would say, for nobody. Raises WireError where nothing may be sent."""
    for one in ask.members or (ask,):
        payload.of(one, _for_member(one, answer, ask))


def _for_member(one: Ask, answer: Answer, ask: Ask) -> Answer:
    """The same answer for one of several calls; edits and free answers are of a single one."""
    if not ask.members:
        return answer
    if answer.edited or answer.answer:
        raise WireError("several calls take yes or no, nothing else")
    spelled = _spelled(ask, answer)[list(ask.members).index(one)]
    return replace(answer, question=replace(answer.question, arguments=spelled))


def _entries(asks: Sequence[Ask], by_key: Mapping[str, Answer]) -> list[dict[str, Any]]:
    entries = []
    for one, found in _payloads(asks, by_key).values():
        if not one.id:
            raise WireError("the question has no id to answer to")
        if found is CANCELLED:
            entries.append({"interruptId": one.id, "status": "cancelled"})
        else:
            entries.append({"interruptId": one.id, "status": "resolved", "payload": found})
    return entries


def _one_message(asks: Sequence[Ask], new_run_id: str) -> list[dict[str, Any]]:
    """The calls by which it asked, in one message, where only so a server takes several answers. It has their words."""
    if len(asks) < 2 or not all(dialects.named(ask.dialect).one_message for ask in asks):
        return []
    made_up = [{"name": dialects.named(ask.dialect).made_up, "arguments": "{}"} for ask in asks]
    held = [{"id": ask.id, "type": "function", "function": one} for ask, one in zip(asks, made_up, strict=True)]
    return [{"id": f"asked-{new_run_id}", "role": "assistant", "toolCalls": held}]


def _object(asks: Sequence[Ask], by_key: Mapping[str, Answer]) -> dict[str, Any]:
    """The first draft's form: one object, with the id if there was one."""
    one, found = _single(asks, by_key)
    return {**({"interruptId": one.id} if one.id else {}), "payload": found}


def _command(asks: Sequence[Ask], by_key: Mapping[str, Answer], channel: str) -> dict[str, Any]:
    """`forwardedProps.command`: the payload of the one that waits, or all payloads by their ids."""
    if channel == "keyed":
        found = _payloads(asks, by_key)
        if not all(told.KEYS.fullmatch(one.id) for one, _ in found.values()):
            raise WireError("several questions, and ids that cannot tell them apart")
        return {"resume": {one.id: said for one, said in found.values()}}
    one, said = _single(asks, by_key)
    repeats = {"interruptEvent": one.event} if dialects.named(one.dialect).framework == "mastra" else {}
    return {"resume": said, **repeats}


def _single(asks: Sequence[Ask], by_key: Mapping[str, Answer]) -> tuple[Ask, Any]:
    found = list(_payloads(asks, by_key).values())
    if len(found) != 1 or found[0][1] is CANCELLED:
        raise WireError("this way of answering carries one answer")
    return found[0]


def _called(ask: Ask, answer: Answer) -> dict[str, Any]:
    """The result of a call by which the server asks: yes or no as JSON."""
    found = payload.of(ask, answer)
    if found is CANCELLED or not ask.id:
        raise WireError("the question has no form for this answer")
    return {"id": f"{OURS}{answer.key}", "role": "tool", "toolCallId": ask.id, "content": jsontext.dumps(found)}


def _tool_message(ask: Ask, answer: Answer) -> dict[str, Any]:
    """Our own tool's result; a refusal is said in words."""
    if answer.edited:
        raise WireError("a call of our own tool takes no edited arguments")
    message = {"id": f"{OURS}{answer.key}", "role": "tool", "toolCallId": ask.id}
    if answer.verdict == "approve":
        payload.check_approvable(answer)
        return {**message, "content": answer.answer or APPROVED}
    if answer.verdict == "reject":
        return {**message, "content": f"{REFUSED} {text(answer.reason)[0]}".strip()}
    return {**message, "content": NOBODY, "error": NOBODY}
