"""What an agent does, step by step: the words that scenarios are written in."""

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Say:
    """Text to the user, sent in small pieces."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """Reasoning, where the wire has a word for it."""

    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that needs nobody's approval."""

    name: str
    input: Json
    result: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that needs approval. `done` is its result, a format of its arguments."""

    tool: str
    input: Json
    done: str
    message: str = ""

    @property
    def text(self) -> str:
        """The arguments as they go over the wire, spelled as most Python servers do."""
        return json.dumps(self.input, ensure_ascii=False)

    def result(self, arguments: Json) -> str:
        """What the tool says after it ran with these arguments."""
        return self.done.format_map(_Blank(arguments))


@dataclass(frozen=True, slots=True)
class Ask:
    """One or more calls that wait together. `schema` None: the provider tells nobody what shape it expects."""

    calls: Sequence[Call]
    schema: Json | None = None
    reason: str = "tool_call"
    expires_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The shared state, whole."""

    value: Json


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of the shared state: an RFC 6902 patch."""

    operations: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Begin:
    """A named step begins."""

    name: str


@dataclass(frozen=True, slots=True)
class End:
    """A named step ends."""

    name: str


@dataclass(frozen=True, slots=True)
class Pause:
    """The agent is busy elsewhere."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """The run ends in failure."""

    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The story is over; what the agent answers in the end."""

    answer: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one call: approve, reject or expired."""

    word: str
    reason: str = ""

    @property
    def approved(self) -> bool:
        return self.word == "approve"


Step = Say | Think | Tool | Ask | Snapshot | Patch | Begin | End | Pause | Fail
Answers = tuple[Verdict, ...]
Script = Generator[Step, Answers, str]  # returns the final answer


def begin(script: Script) -> Step | Ended:
    """The first step."""
    try:
        return next(script)
    except StopIteration as end:
        return Ended(end.value)


def go_on(script: Script, answers: Answers = ()) -> Step | Ended:
    """The next step; `answers` where the last one was a question."""
    try:
        return script.send(answers)
    except StopIteration as end:
        return Ended(end.value)


class _Blank(dict[str, Any]):
    """A person may have edited an argument away."""

    def __missing__(self, key: str) -> str:
        return "nothing"


_REASON = {"type": "string"}
APPROVE_ONLY: Json = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "reason": _REASON},
    "required": ["approved"],
    "additionalProperties": False,
}
EDITABLE: Json = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "editedArgs": {"type": "object"}, "reason": _REASON},
    "required": ["approved"],
}
