"""What the questions of one pause can be answered with together; that depends on the server."""

from collections.abc import Sequence
from dataclasses import replace

from streams import dialects, jsontext
from streams.events import Asked, short
from streams.providers.agui import calls
from streams.providers.agui.told import JOINED, KEYS, UNANSWERABLE, Pair, key_of


def read(pairs: list[Pair]) -> list[Pair]:
    """What several questions can be answered with depends on the server: see dialects.base.Several."""
    entries = list(dict.fromkeys((ask.channel, ask.id or ask.event or ask.key) for ask, _ in pairs))
    if len(entries) < 2:
        return pairs
    rules = {dialects.named(ask.dialect).several for ask, _ in pairs}
    channels = {ask.channel for ask, _ in pairs}
    if len(channels) > 1 or len(rules) > 1:
        return _blocked(pairs, f"{UNANSWERABLE}: it asks in several ways at once")
    if rules == {"bundle"}:
        return [_bundle(pairs)]
    if rules == {"keyed"}:
        if all(KEYS.fullmatch(ask.id) for ask, _ in pairs):
            return [(replace(ask, channel="keyed"), asked) for ask, asked in pairs]
        return _blocked(pairs, f"{UNANSWERABLE}: several questions, and ids that cannot tell them apart")
    if rules == {"one"} or channels & {"command", "object"}:
        return _blocked(pairs, dialects.ONE_ONLY)
    return pairs


def _blocked(pairs: Sequence[Pair], why: str) -> list[Pair]:
    if why.startswith(UNANSWERABLE):
        return [(ask, replace(asked, edit=False, problem=short(why, 500))) for ask, asked in pairs]
    return [(ask, unapprovable(asked, why)) for ask, asked in pairs]


def _bundle(pairs: Sequence[Pair]) -> Pair:
    """Questions that can only be answered alike, as one: its arguments are all calls, each spelled as it was."""
    asks, tolds = [ask for ask, _ in pairs], [asked for _, asked in pairs]
    spelled = [
        f'{{"tool": {jsontext.dumps(asked.tool)}, "arguments": '
        f"{asked.arguments if not jsontext.problem(asked.arguments) else jsontext.dumps(asked.arguments)}}}"
        for asked in tolds
    ]
    problems = [f"{asked.tool}: {asked.problem}" for asked in tolds if asked.problem]
    unanswerable = next((asked.problem for asked in tolds if asked.problem.startswith(UNANSWERABLE)), "")
    arguments = f"[{', '.join(spelled)}]"
    key = key_of(JOINED.join(ask.id for ask in asks))
    ask = replace(asks[0], key=key, id="", schema="", tool="", members=tuple(asks))
    asked = replace(
        tolds[0],
        call_id=key,
        tool=short(", ".join(asked.tool for asked in tolds), 300),
        arguments=arguments,
        message="\n".join(asked.message for asked in tolds if asked.message),
        answer_schema="",
        expires_at=min((asked.expires_at for asked in tolds if asked.expires_at), default=""),
        edit=False,
        hears_reason=all(asked.hears_reason for asked in tolds),
        no_edit="several calls are answered with one yes or one no",
        no_reason=next((asked.no_reason for asked in tolds if asked.no_reason), ""),
        limits="\n".join(filter(None, (tolds[0].limits, dialects.ALL_OR_NONE))),
        answer=False,
        problem=short(unanswerable or "; ".join(problems) or calls.problem(arguments), 500),
    )
    return ask, asked


def unapprovable(asked: Asked, why: str) -> Asked:
    return replace(asked, edit=False, problem=asked.problem or short(why, 500))
