"""The run object in a payload: where it stands, what it says, which of its spellings mean what.

Sources, read 2026-11: docs.middesk.com/work-with-agents/stream-runs (events; `run_id`, `snapshot`), /reference/run and
/reference/thread (both vocabularies of `status`), Middesk's OpenAPI description (Run, Step, Interrupt). The samples
elide most of a snapshot, so its shape is assumed to be any of those tried here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams import jsontext
from streams.events import short, text

RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "error", "interrupted"
STATUSES: Final[Mapping[str, str]] = {  # an older copy of the reference says pending and failed
    "running": RUNNING,
    "pending": RUNNING,
    "completed": COMPLETED,
    "error": FAILED,
    "failed": FAILED,
    "interrupted": INTERRUPTED,
}

Path = tuple[str, ...]
SNAPSHOT: Final[Sequence[Path]] = (
    ("snapshot",),
    ("snapshot", "run"),
    ("snapshot", "state"),
    ("snapshot", "state", "run"),
    ("snapshot", "data", "object"),
    (),
)
BODY: Final[Sequence[Path]] = ((), ("run",), ("data",), ("data", "object"))
STEPS_MAX = 500  # of one payload; a run has some dozens


class Unreadable(ValueError):
    """A payload in which no run can be found; the message says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as one payload shows it."""

    data: str
    run: Mapping[str, Any]
    path: Path  # where in the payload the run is

    @property
    def word(self) -> str:
        """The status as sent; empty where none is said."""
        return string(self.run.get("status"))

    @property
    def status(self) -> str:
        """One of the four that we know, else empty: an unknown word is never taken for an end."""
        return STATUSES.get(self.word, "")

    @property
    def interrupts(self) -> list[Any] | None:
        """The open questions; None where the payload does not speak of them, which does not mean that none is open."""
        found = self.run.get("interrupts")
        return found if isinstance(found, list) else None


def parse(data: str) -> Mapping[str, Any]:
    """A payload as an object. What only a lenient parser reads is read too; problem() then says so of its questions."""
    try:
        value = jsontext.quick(data)
    except ValueError as exc:
        try:
            value = jsontext.lenient(data)
        except ValueError:
            raise Unreadable(f"not JSON: {short(str(exc), 200)}") from exc
    if not isinstance(value, dict):
        raise Unreadable("not an object")
    return value


def find(data: str, event: Mapping[str, Any], paths: Sequence[Path]) -> Seen | None:
    """The run in a parsed payload: the place that names questions, else a status, else steps."""
    places = [(path, value) for path in paths if (value := _at(event, path)) is not None]
    for fits in (_asks, _has_status, _has_steps):
        for path, value in places:
            if fits(value):
                return Seen(data, value, path)
    return None


def body(data: str) -> Seen:
    """The run in the answer to a GET. Raises Unreadable where there is none."""
    seen = find(data, parse(data), BODY)
    if seen is None:
        raise Unreadable("no run in it: neither a status nor interrupts nor steps")
    return seen


def _at(value: Any, path: Path) -> Mapping[str, Any] | None:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else None


def _asks(run: Mapping[str, Any]) -> bool:
    return isinstance(run.get("interrupts"), list)


def _has_status(run: Mapping[str, Any]) -> bool:
    return isinstance(run.get("status"), str)


def _has_steps(run: Mapping[str, Any]) -> bool:
    return isinstance(run.get("steps"), list)


def field(event: Mapping[str, Any], name: str) -> str:
    """A text under its snake_case name, as Middesk writes it, or its camelCase one, as AG-UI does."""
    first, *others = name.split("_")
    return string(event.get(name)) or string(event.get(first + "".join(part.title() for part in others)))


def same_id(one: str, other: str) -> bool:
    """Whether two ids may be the same run's; an unknown one may be any."""
    return not one or not other or one.casefold() == other.casefold()


def steps(run: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The steps in their order, with how deep each is nested; the first 500."""
    waiting = _pile(run.get("steps"), 0)
    for _ in range(STEPS_MAX):
        if not waiting:
            return
        depth, step = waiting.pop()
        yield depth, step
        waiting += _pile(step.get("steps"), depth + 1)


def _pile(found: Any, depth: int) -> list[tuple[int, Mapping[str, Any]]]:
    listed = found[:STEPS_MAX] if isinstance(found, list) else []
    return [(depth, step) for step in reversed(listed) if isinstance(step, dict)]


def is_open_question(step: Mapping[str, Any]) -> bool:
    """A step that waits for a person; such a step has no status of its own and is `running` (assumed)."""
    return step.get("type") == "interrupt" and STATUSES.get(string(step.get("status"))) in (RUNNING, INTERRUPTED)


def resolution(step: Mapping[str, Any]) -> str:
    """What an account's policy made of a question: auto_approve or skip; empty where a person answered.

    The reference has it in `result`, the prose of /work-with-agents/interrupt-policy on the step itself.
    """
    result = step.get("result")
    inside = string(result.get("resolution")) if isinstance(result, dict) else ""
    return inside or string(step.get("resolution"))


def string(value: Any) -> str:
    """A text, storable; empty for anything else."""
    return text(value)[0] if isinstance(value, str) else ""
