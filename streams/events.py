"""What a frame means to us: text made safe to store, facts for the projector, lines for the timeline."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from streams.jsontext import UNSTORABLE
from streams.jsontext import canonical as canonical
from streams.jsontext import parse as parse
from streams.jsontext import problem as problem
from streams.jsontext import raw_slice as raw_slice


def text(raw: str) -> tuple[str, bool]:
    """The one door for provider text into the database: NUL and lone surrogates become visible escapes.

    Returns the text and whether anything was replaced (`marked`).
    """
    if "\0" not in raw and (raw.isascii() or _encodes(raw)):  # nearly every text, at a fraction of the pattern's price
        return raw, False
    made = UNSTORABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", raw)
    return made, made != raw


def _encodes(raw: str) -> bool:
    try:
        raw.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(raw: str, limit: int) -> str:
    """Provider text for a field of limited length: storable, cut with an ellipsis."""
    made = text(raw)[0]
    return made if len(made) <= limit else f"{made[: limit - 1]}…"


def sha256(stored: str) -> str:
    """Lower-case hex SHA-256 of a text's UTF-8."""
    return hashlib.sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()


def canonical_sha256(raw: str) -> str:
    """The hash that a mere re-spelling (spaces, escapes, order of keys) leaves alone: equal means not changed."""
    return sha256(canonical(raw))


# --- facts: what changes requests and runs --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """The agent asks a person about one call. `arguments` is the exact text that is hashed and shown."""

    call_id: str  # the provider's id of the question (approval id, interrupt id)
    tool: str
    arguments: str
    message: str = ""
    tool_call_id: str = ""  # AG-UI: the tool call it is about
    answer_schema: str = ""  # JSON Schema as text, where the provider sent one
    expires_at: str = ""  # as sent; parsed leniently by the projector
    reason: str = ""  # the provider's own kind of question
    edit: bool = False  # edited arguments can be carried
    hears_reason: bool = False  # a reviewer's reason reaches the agent
    answer: bool = False  # a free answer (input_required) is wanted
    problem: str = ""  # why this cannot be approved (unparsable, too deep, ...); empty: approvable
    together: bool = False  # must be answered in one call with the run's other questions
    limits: str = ""  # what else a reviewer must know of answers here, one sentence a line
    dialect: str = ""  # AG-UI: the row of streams.dialects that it will be answered by
    unverified: bool = False  # no real server was seen to take answers of that dialect
    no_edit: str = ""  # why changed arguments are not offered, no_reason: why a reason stays here; empty: see above
    no_reason: str = ""
    no_reject: str = ""  # why no refusal can be sent; empty: one can
    needs_answer: bool = False  # a plain yes cannot be sent: a person has to write the answer


@dataclass(frozen=True, slots=True)
class MovedOn:
    """The stream went on although a question was open: nobody is waiting for its answer any more."""

    what: str


@dataclass(frozen=True, slots=True)
class Started:
    """The provider says that the run began."""

    external_id: str = ""
    thread_id: str = ""


@dataclass(frozen=True, slots=True)
class Paused:
    """The run waits for a person. `closed`: this exchange is over, going on is a new run (AG-UI)."""

    closed: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The last word on the run; truncated and lost are the house's own."""

    how: Literal["finished", "failed", "cancelled", "truncated", "lost"]
    outcome: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame of an unknown kind, or one that breaks its kind's contract; kept raw and marked, the stream goes on."""

    problem: str
    useless: bool = False  # nothing in it can be taken for what was asked for: it is kept, and proves nothing


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The stream alone does not tell where the run stands: read the run itself before anything is concluded."""

    why: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The provider, asked afresh, no longer lists these questions: what of them we did not answer, another answered."""

    call_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recognised:
    """AG-UI: the framework behind the server, by the shape of a pause; for an account that names none."""

    dialect: str  # a name in streams.dialects


@dataclass(frozen=True, slots=True)
class Executed:
    """The run that carries an answer tells a call and its result: these are the arguments that it ran with."""

    tool_call_id: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Clash:
    """AG-UI: a pause looks like another framework's than the account is set to."""

    dialect: str  # what it looks like
    pinned: str


Fact = Asked | MovedOn | Started | Paused | Ended | Broken | ReadBack | Gone | Recognised | Executed | Clash
SETTLING = (Asked, MovedOn, Paused, Ended, Gone, Executed)  # facts whose batch commits durably


# --- lines: what the timeline shows ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One stored event as the timeline reads it. Lines with the same non-empty `key` and `what` join into one entry.

    what: text | reasoning | tool | arguments | result | ask | state | step | start | end | note
    `body` is provider text (hostile); `label` a short provider name (tool, step), hostile as well.
    """

    what: str
    body: str = ""
    label: str = ""
    key: str = ""
    role: str = ""
    ended: bool = False  # nothing more will join this entry
    whole: bool = False  # a state told again and again: the body replaces the entry's, which stays open to be replaced
