"""How the timeline reads Middesk's events: a snapshot is the whole run, so its lines replace what stood before.

Source: Middesk's OpenAPI description (Step, Artifact) and docs.middesk.com/work-with-agents/interrupt-policy, read
2026-11. Stateless and total; the same steps come in every snapshot and read-back, told apart by their ids.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streams.events import Line, short
from streams.providers.base import READ_BACK, Artifact
from streams.providers.middesk import fold, parts, questions, wire
from streams.providers.middesk.wire import COMPLETED, FAILED, Seen

HOUSE = "house"  # the role of a line whose words are ours and not the provider's
NOTE_LIMIT, BODY_LIMIT, ARTIFACTS_MAX = 2_000, 6_000, 20
POLICY: Final[Mapping[str, str]] = {
    "auto_approve": "Answered by the account's policy (auto_approve): all proposed actions are carried out; "
    "no person decided.",
    "skip": "Answered by the account's policy (skip): none of the proposed actions is carried out; no person decided.",
}


def read(kind: str, payload: str) -> tuple[Line, ...]:
    """The lines of one stored event."""
    try:
        event = wire.parse(payload)
    except wire.Unreadable:
        return (Line("note", payload[:NOTE_LIMIT], label=kind),)
    match kind:
        case fold.STARTED:
            return (Line("start", key=wire.field(event, "run_id")),)
        case fold.FINISHED:
            said = "The stream is finished. Whether the run is, only the run itself says."
            return (Line("note", said, label=kind, role=HOUSE),)
        case fold.ERROR:
            said = wire.string(event.get("message")) or wire.string(event.get("error"))
            return (Line("note", short(said, NOTE_LIMIT) or payload[:NOTE_LIMIT], label=kind),)
    seen = wire.find(payload, event, wire.BODY if kind == READ_BACK else wire.SNAPSHOT)
    if kind not in (fold.SNAPSHOT, READ_BACK) or seen is None:
        return (Line("note", payload[:NOTE_LIMIT], label=kind),)
    return (*_status(seen, final=kind == READ_BACK), *_steps(seen), *_asks(seen), *_output(seen))


def _status(seen: Seen, *, final: bool) -> Iterator[Line]:
    word = short(seen.word, 60)
    if final and seen.status in (COMPLETED, FAILED):
        yield Line("end", label=word, ended=True)
    elif word:
        yield Line("state", word, label="status", key=f"status {word}", whole=True)


def _steps(seen: Seen) -> Iterator[Line]:
    steps = list(wire.steps(seen.run))
    for depth, step in steps:
        label = wire.string(step.get("label")) or wire.string(step.get("name")) or wire.string(step.get("type"))
        key = wire.string(step.get("id")) or f"{depth} {label}"
        status = wire.string(step.get("status"))
        over = wire.STATUSES.get(status) in (COMPLETED, FAILED)
        body = _step(step, short(status, 60))
        by = wire.resolution(step) if step.get("type") == "interrupt" and not wire.is_open_question(step) else ""
        role = by if by in POLICY else ""  # who answered, where it was no person
        name = short(label, 300)
        yield Line("step", body, label=name, key=f"step {short(key, 300)}", role=role, ended=over, whole=True)
    if len(steps) == wire.STEPS_MAX:
        said = "There may be more steps; the event has them all."
        yield Line("note", said, label="steps", key="steps", role=HOUSE, whole=True)


def _step(step: Mapping[str, Any], status: str) -> str:
    said = [status] if status else []
    if step.get("type") == "interrupt":
        said += [_answered(step)]
    return short("\n".join([*(one for one in said if one), *_artifacts(step.get("artifacts"))]), BODY_LIMIT)


def _answered(step: Mapping[str, Any]) -> str:
    if wire.is_open_question(step):
        return "Waits for a person."
    word = wire.resolution(step)
    return POLICY.get(word, f"Resolution: {short(word, 60)}" if word else "")


def _artifacts(found: Any) -> Iterator[str]:
    listed = found if isinstance(found, list) else []
    for item in listed[:ARTIFACTS_MAX]:
        yield told(parts.artifact(item))
    if len(listed) > ARTIFACTS_MAX:
        yield f"and {len(listed) - ARTIFACTS_MAX} more"


def told(artifact: Artifact) -> str:
    """An artifact as text, with how sure the agent is and where it has it from."""
    head = " · ".join(
        part
        for part in (
            artifact.title,
            artifact.kind,
            f"confidence: {artifact.confidence}" if artifact.confidence else "",
        )
        if part
    )
    sources = [
        f"source: {' · '.join(part for part in (one.name, one.tier, one.kind, one.url) if part)}"
        for one in artifact.sources
    ]
    return "\n  ".join(part for part in (head or artifact.rest, artifact.summary, *sources) if part)


def _asks(seen: Seen) -> Iterator[Line]:
    for asked in questions.read(seen, hears_reason=False):
        yield Line("ask", asked.arguments, label=asked.tool, key=asked.call_id, whole=True)


def _output(seen: Seen) -> Iterator[Line]:
    output = seen.run.get("output")
    body = "\n".join(_artifacts(output.get("artifacts"))) if isinstance(output, dict) else ""
    if body:
        yield Line("state", short(body, BODY_LIMIT), label="output", key="output", whole=True)
