"""One thing that asks, whatever its form was, and what the house calls it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streams import dialects
from streams.dialects import Channel, Dialect, Path
from streams.events import Asked, sha256, text
from streams.providers.agui.state import Ask

KEY_LIMIT: Final = 300  # ApprovalRequest.call_id
UNANSWERABLE: Final = "paused in a form that this version cannot answer"
NEVER_SHOWN: Final = "the call that it is about was never shown"
NO_CHANGES: Final = "the agent does not take changes for this call"
NO_REFUSAL: Final = "the agent takes no refusal for this call, so there is nothing to give a reason for"
KEYS: Final = re.compile("[0-9a-f]{32}")  # ids by which LangGraph tells its interrupts apart
JOINED: Final = " + "  # between the ids of questions that are one

Pair = tuple[Ask, Asked]


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that asks, in the words of AG-UI 1.0 whatever its form was, and where it is spelled."""

    interrupt: Mapping[str, Any]
    text: str  # JSON in which the exact spelling of its call is found
    base: Path = ()  # of the interrupt in it
    root: Path | None = None  # of what the framework keeps, where it lies elsewhere than in the interrupt
    channel: Channel = "resume"
    dialect: Dialect | None = None  # where the form tells it
    event: str = ""
    schema: str = ""  # told beside the interrupt
    trouble: str = ""


def key_of(given_id: str) -> str:
    """What the house calls a question: its id, made storable. The answer itself goes to the id exactly as sent."""
    made, changed = text(given_id)
    if len(made) <= KEY_LIMIT and not changed:
        return made
    return f"{made[: KEY_LIMIT - 65]}~{sha256(given_id)}"


def names(key: str, given_id: str) -> bool:
    """Whether a question is about an id: alone, as one action of it, or joined with others."""
    head, slash, place = key.rpartition("/")
    if key == key_of(given_id) or (slash and place.isdecimal() and head == given_id and KEYS.fullmatch(head)):
        return True
    return given_id in key.split(JOINED)


def field(interrupt: Mapping[str, Any], name: str) -> Any:
    """A member of an interrupt, in camelCase or, from servers that forget aliases, snake_case; null is absent."""
    found = interrupt.get(name)
    if found is None:
        found = interrupt.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))
    return found


def made_up_key(told: Told) -> str:
    """A name for a question without an id. The same question asked again has the same one."""
    return f"{told.interrupt['reason'][:60]}~{sha256(text(told.event or told.text)[0])[:32]}"


def spoken(dialect: Dialect, pinned: str) -> dict[str, Any]:
    """The fields of a question that say by which dialect it will be answered, and how sure that is."""
    unknown = dialect is dialects.PLAIN and pinned not in dialects.DIALECTS
    said = dialects.doubts("" if unknown else dialect.name)
    return {
        "dialect": dialect.name,
        "unverified": bool(said),
        "limits": "\n".join((*said, dialect.remark) if dialect.remark else said),
    }


def not_allowed(allows: Sequence[str]) -> str:
    return "the server takes no plain yes for it" if allows and "approve" not in allows else ""
