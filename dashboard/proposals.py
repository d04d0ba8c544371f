"""A question that is made of proposals, as a reviewer reads it: each with its findings and where they come from. Pure.

Whatever an adapter found in the arguments is shown, long texts with their rest on demand; the arguments stand below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from dashboard import values
from streams import providers
from streams.providers.base import Artifact, Citation, Part

SAID_MAX: Final = 700  # characters of a text that are shown before the rest is asked for
SOURCES_MAX: Final = 6
FINDINGS_MAX: Final = 20
PAGE_FINDINGS, PAGE_SOURCES = 200, 400  # of all parts together; the arguments have the others
CUT: Final = "…"  # an adapter ends with it what it had to cut


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the agent's: its head, and what is shown on demand."""

    head: str = ""
    more: str = ""

    @property
    def length(self) -> int:
        return len(self.more)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding or proposed change. `rest`: what else it says, as JSON."""

    title: str
    kind: str
    confidence: str
    summary: Said
    sources: Sequence[Citation]
    more_sources: Sequence[Citation]
    left_out: int
    rest: Said


@dataclass(frozen=True, slots=True)
class Proposal:
    """One of the parts that one answer covers."""

    label: Said
    agent: str
    kind: str
    findings: Sequence[Finding]
    more_findings: Sequence[Finding]
    rest: Said
    left_out: int
    number: int = 0  # 0: no proposal of its own, but what is said of all of them


@dataclass(frozen=True, slots=True)
class Proposals:
    """All of them; `cut`: something did not fit and stands only in the arguments."""

    parts: Sequence[Proposal] = ()
    cut: bool = False

    @property
    def total(self) -> int:
        return sum(1 for part in self.parts if part.number)

    def __bool__(self) -> bool:
        return bool(self.parts)


def read(kind: str, arguments: str) -> Proposals:
    """The proposals in a question's arguments; none where its provider bundles nothing."""
    try:
        found = providers.get(kind).parts(arguments)
    except LookupError:
        return Proposals()
    room = _Room()
    numbers = count(1)
    made = [_proposal(part, room, 0 if part.around else next(numbers)) for part in found]
    return Proposals(made, room.full or any(_cut(part) for part in found))


@dataclass(slots=True)
class _Room:
    """What a page can still take."""

    findings: int = PAGE_FINDINGS
    sources: int = PAGE_SOURCES
    full: bool = False

    def take(self, artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
        """As many of these as fit."""
        taken = artifacts[: self.findings]
        self.findings -= len(taken)
        self.full = self.full or len(taken) < len(artifacts)
        return taken

    def cite(self, sources: Sequence[Citation]) -> Sequence[Citation]:
        """As many of these as fit."""
        taken = sources[: self.sources]
        self.sources -= len(taken)
        self.full = self.full or len(taken) < len(sources)
        return taken


def _proposal(part: Part, room: _Room, number: int) -> Proposal:
    taken = room.take(part.artifacts)
    findings = [_finding(one, room) for one in taken]
    return Proposal(
        label=_said(part.label),
        agent=part.agent,
        kind=part.kind,
        findings=findings[:FINDINGS_MAX],
        more_findings=findings[FINDINGS_MAX:],
        rest=_json(part.rest),
        left_out=part.left_out + len(part.artifacts) - len(taken),
        number=number,
    )


def _finding(artifact: Artifact, room: _Room) -> Finding:
    sources = room.cite(artifact.sources)
    return Finding(
        title=artifact.title,
        kind=artifact.kind,
        confidence=artifact.confidence,
        summary=_said(artifact.summary),
        sources=sources[:SOURCES_MAX],
        more_sources=sources[SOURCES_MAX:],
        left_out=len(artifact.sources) - len(sources),
        rest=_json(artifact.rest),
    )


def _said(text: str) -> Said:
    return Said(text) if len(text) <= SAID_MAX else Said(text[:SAID_MAX], text[SAID_MAX:])


def _json(text: str) -> Said:
    """JSON in lines, where it is whole; a cut one as it is."""
    try:
        return _said(values.dump(values.load(text)) if text else "")
    except (ValueError, RecursionError):
        return _said(text)


def _cut(part: Part) -> bool:
    texts = [part.label, part.agent, part.kind, part.rest]
    for one in part.artifacts:
        texts += [one.title, one.kind, one.confidence, one.summary, one.rest]
        texts += [text for source in one.sources for text in (source.url, source.name, source.tier, source.kind)]
    return part.left_out > 0 or any(text.endswith(CUT) for text in texts)
