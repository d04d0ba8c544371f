"""What a Middesk agent does, step by step: the words that its stories are written in."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from streams.emulator.script import Answers, Json

Artifact = dict[str, Any]
Artifacts = Sequence[Artifact]


@dataclass(frozen=True, slots=True)
class Work:
    """An activity: a step that runs for some time and leaves artifacts."""

    name: str
    label: str
    seconds: float = 1.5
    artifacts: Artifacts = ()


@dataclass(frozen=True, slots=True)
class Enter:
    """A sub-agent begins: what follows is nested in its step."""

    agent: str
    label: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The sub-agent is done."""

    artifacts: Artifacts = ()


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question for a person; `value` has the shape that its agent chose."""

    name: str
    label: str
    value: Json
    findings: Artifacts = ()

    @property
    def text(self) -> str:
        """The value as it goes over the wire."""
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Question:
    """Interrupts that are open at the same time, each answered by itself."""

    interrupts: Sequence[Interrupt]


@dataclass(frozen=True, slots=True)
class Policy:
    """An interrupt that the account's policy answered; `resolution`: auto_approve or skip."""

    interrupt: Interrupt
    resolution: str


@dataclass(frozen=True, slots=True)
class Break:
    """The run ends in failure."""

    message: str


@dataclass(frozen=True, slots=True)
class Done:
    """The story is over; what the run leaves as its output."""

    artifacts: Artifacts


Beat = Work | Enter | Leave | Question | Policy | Break
Story = Generator[Beat, Answers, Artifacts]


def go_on(story: Story, answers: Answers | None = None) -> Beat | Done:
    """The next beat; `answers` None at the beginning, empty where the last beat was no question."""
    try:
        return next(story) if answers is None else story.send(answers)
    except StopIteration as end:
        return Done(end.value)


def artifact(
    title: str, type: str, summary: str, *, confidence: str | None = "high", sources: Artifacts = ()
) -> Artifact:
    """An artifact; its confidence is a label, no score."""
    return {"title": title, "type": type, "confidence": confidence, "summary": summary, "sources": list(sources)}


def source(url: str, name: str, *, tier: str = "primary", type: str = "registry") -> Artifact:
    """Where a finding comes from."""
    return {"url": url, "source_name": name, "source_tier": tier, "source_type": type}
