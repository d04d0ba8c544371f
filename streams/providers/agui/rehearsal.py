"""What could not be sent is not offered: a plain yes and a plain no are built on trial, as they would be sent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from streams.errors import WireError
from streams.events import Asked, short
from streams.providers.agui import answer
from streams.providers.agui.state import Ask
from streams.providers.agui.told import UNANSWERABLE, Pair
from streams.providers.base import Answer, Question, Verdict

NOBODYS: Final = UUID(int=0)


def read(pairs: Sequence[Pair]) -> list[Pair]:
    """The questions, each with what no answer to it can say."""
    return [(ask, _tried(ask, asked)) for ask, asked in pairs]


def _tried(ask: Ask, asked: Asked) -> Asked:
    if asked.problem.startswith(UNANSWERABLE):
        return asked
    no_approve = "" if asked.problem else _refused(ask, asked, "approve")
    needs_answer = bool(no_approve) and asked.answer
    problem = asked.problem or ("" if needs_answer else short(no_approve, 500))
    return replace(
        asked,
        no_reject=short(_refused(ask, asked, "reject"), 500),
        needs_answer=needs_answer,
        problem=problem,
        edit=asked.edit and not problem,
    )


def _refused(ask: Ask, asked: Asked, verdict: Verdict) -> str:
    """Why the wire cannot carry this verdict alone; empty where it can."""
    question = Question(asked.call_id, asked.tool, asked.arguments, asked.tool_call_id, asked.answer_schema)
    try:
        answer.rehearse(ask, Answer(question, verdict, NOBODYS))
    except WireError as exc:
        return str(exc)
    return ""
