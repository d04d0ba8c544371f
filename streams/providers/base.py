"""The Provider protocol: how a vendor's wire becomes facts, and a decision becomes a call. Pure, no IO, no clock."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from uuid import UUID

from streams.errors import WireError
from streams.events import Fact, Line
from streams.sse import Frame

READ_BACK: Final = "read_back"  # kind of a stored event that is the body of a run's own GET and no frame of a stream
MISREAD: Final = "read_back_unusable"  # the same where the body is not the run: it changes and proves nothing


@dataclass(frozen=True, slots=True)
class Account:
    """What an adapter may know of a Provider row."""

    base_url: str
    secret: str = field(default="", repr=False)
    dialect: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunView:
    """What an adapter may know of a Run row."""

    id: UUID
    external_id: str = ""
    thread_id: str = ""
    stream_url: str = ""
    task: str = ""
    workflow: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request that we make. Not repeatable: let out at most once, follows no redirect."""

    method: str
    url: str  # absolute, on the account's own origin
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    repeatable: bool = False
    streams: bool = False  # the response is an event stream
    leave_by: float = math.inf  # the last moment for its first byte, on this process's monotonic clock


@dataclass(frozen=True, slots=True)
class Begun:
    """What the answer to a start call tells."""

    external_id: str
    stream_url: str = ""
    thread_id: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """An open request, as the adapter needs it to answer."""

    call_id: str
    tool: str
    arguments: str
    tool_call_id: str = ""
    answer_schema: str = ""
    dialect: str = ""


Verdict = Literal["approve", "reject", "nobody"]  # nobody: it expired, the thread must be freed


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back for one question. `edited` and `answer` are JSON texts, empty where there is none."""

    question: Question
    verdict: Verdict
    key: UUID  # the decision's id: sent along as idempotency key wherever the wire has a place for it
    reason: str = ""
    edited: str = ""
    answer: str = ""
    reviewer: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the provider did not take a call, in its own words (trimmed, hostile text)."""

    code: str
    text: str


Applied = Literal["applied", "not_applied"]


@dataclass(frozen=True, slots=True)
class Carried:
    """What evidence() may know of a decision that went out."""

    question: Question
    verdict: Verdict
    only_open: bool  # no other request of the run was open when it was sent
    answering_run: str = ""  # AG-UI: external id of the run that carried the answer
    asks: tuple[str, ...] = ()  # call_id of each question that the event in hand asks


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a finding comes from; all of it is the provider's text. `link`: the URL where it may become a link."""

    url: str
    link: str = ""
    name: str = ""
    tier: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One finding or proposed change. `rest`: what else it says, as JSON text; empty where there is nothing."""

    title: str
    kind: str = ""
    confidence: str = ""  # a label or a score, as sent
    summary: str = ""
    sources: tuple[Citation, ...] = ()
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the proposals that a question is made of; the answer covers all of them."""

    label: str
    agent: str = ""
    kind: str = ""
    artifacts: tuple[Artifact, ...] = ()
    rest: str = ""
    left_out: int = 0  # artifacts or parts beyond what a page can show: the arguments have them
    around: bool = False  # no proposal of its own: what is said of all of them together


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook of a provider's that proved to be its own: a nudge to read the run, never news by itself."""

    event_id: str  # unique: a second delivery of the same id is dropped
    kind: str
    run_id: str = ""  # the external id of the run to read; empty: nothing to do, answer 2xx


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider's wire can carry; screen and courier ask this, never the provider's name."""

    edit: bool  # edited arguments, where the question offers them
    reason: bool  # a reason reaches the agent
    ask: bool  # a free question back to the agent
    cancel_run: bool
    batch: bool  # open questions of a run are answered together, in one call
    answer_streams: bool  # the answer's response is the run's continuation (AG-UI)
    idempotent_decision: bool  # a repeat of the same decision cannot act twice
    read_back: bool
    replay: Literal["full", "tail", "none", "unknown"]
    replay_exact: bool  # a replayed frame is byte for byte the first one, so that a difference is a divergence
    repeatable_start: bool
    stall_s: float | None  # silence after which a streaming connection is given up; None: never
    stall_waiting_s: float | None  # the same while the run waits for a person
    watch: bool  # somebody else's run can be followed by its external id
    needs_workflow: bool
    needs_task: bool
    reads_on: bool = False  # the stream is read to its end even after the run's last word, which may be corrected
    last_kinds: frozenset[str] = frozenset()  # frames behind which a stream says nothing more; empty: it just ends
    evidence_kinds: frozenset[str] | None = None  # kinds that evidence() may answer to without a fact; None: any
    poll_s: float | None = None  # a run is read back at most this often, and so often while it waits; None: never
    confirm_s: float | None = None  # a 2xx to an answer counts once evidence came within this time; None: by itself
    stream_proves: bool = True  # an open stream says that its run is there
    calls_per_s: float | None = None  # streams joined and runs read a second, all runs together; None: no limit known


class Provider(Protocol):
    """One vendor's adapter. `S` below is its own fold state: a frozen value, opaque to everybody else."""

    kind: str
    label: str  # the vendor's name on screen
    capabilities: Capabilities

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems of a start by field name; empty when it can be sent."""
        ...

    def start_call(self, account: Account, run: RunView) -> Call:
        """The call that begins a run. For AG-UI it streams: the response is the run.

        Where it streams and the run can be joined, the answer is read only as far as read_start() needs it.
        """
        ...

    def read_start(self, account: Account, body: bytes) -> Begun:
        """Read a 2xx answer to start_call, perhaps its beginning alone. Raises WireError when it lacks the run's id."""
        ...

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """The repeatable call that joins a run's stream. Raises WireError where the wire has none (AG-UI)."""
        ...

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> Any:
        """The fold state before the first frame of the run.

        `call` is the call that opened the stream, given whenever that call was not repeatable: for AG-UI its body is
        what the run begins with (history, state), and the next answer must send it back. Without it: start_call()'s.
        """
        ...

    def placed(self, frame: Frame) -> Frame | None:
        """A frame with the id that it is known again by; None for what a connection says of itself and no run."""
        ...

    def kind_of(self, frame: Frame) -> str:
        """The event's kind: the SSE event line or the JSON's type, at most 100 characters."""
        ...

    def step(self, state: Any, frame: Frame) -> tuple[Any, tuple[Fact, ...]]:
        """Fold one new frame. Never raises for what a provider sent; a frame that gives a Broken fact is marked."""
        ...

    def at_eof(self, state: Any) -> tuple[Fact, ...]:
        """What the end of the body means where no terminal event came (empty: nothing is known)."""
        ...

    def dump(self, state: Any) -> str:
        """The fold state as text, for the checkpoint."""
        ...

    def load(self, text: str) -> Any:
        """The fold state from dump()'s text."""
        ...

    def identity(self, kind: str, sha256: str) -> str:
        """What makes two frames the same on a replay, from the stored kind and hash of the payload."""
        ...

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """The one call that carries these answers; for batch wires all open questions' answers together.

        `run` and `state` are those of the run that asked. Raises WireError where the wire cannot carry them: nothing
        may be sent then. An adapter sends no id that the run did not offer and approves nothing unparsable.
        """
        ...

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """The provider's words in an error answer; any body is survived."""
        ...

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """What a stored event of the run proves about an answer that was sent before it; None: nothing."""
        ...

    def not_accepted(self, error: str) -> bool:
        """Whether an error text/code that ended the answering run says that the answer was not taken."""
        ...

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        """How the timeline reads a stored event. Stateless and total."""
        ...

    def decidable(self, account: Account) -> str:
        """Why nothing can be decided from here, in words for the reviewer; empty where it can."""
        ...

    def read_back_call(self, account: Account, run: RunView) -> Call | None:
        """The repeatable call whose answer is the run as it stands; None where there is none."""
        ...

    def read_run(self, state: Any, body: str) -> tuple[Any, tuple[Fact, ...]]:
        """Fold the body of a 2xx answer to read_back_call(). Never raises for what a provider sent."""
        ...

    def parts(self, arguments: str) -> tuple[Part, ...]:
        """What a question's arguments propose, piece by piece, where the provider bundles. Total; empty: show them."""
        ...

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> Hook:
        """Check and read a webhook's raw body. Raises Unsigned (401) or WireError (400)."""
        ...


class Unsigned(WireError):
    """A webhook without a signature that one of our secrets makes: nobody knows who sent it."""


class Plain:
    """For wires that have no ids but SSE's, take every answer, read nothing back, bundle nothing, send no webhooks."""

    def placed(self, frame: Frame) -> Frame | None:
        return frame

    def decidable(self, account: Account) -> str:
        return ""

    def read_back_call(self, account: Account, run: RunView) -> Call | None:
        return None

    def read_run(self, state: Any, body: str) -> tuple[Any, tuple[Fact, ...]]:
        return state, ()

    def parts(self, arguments: str) -> tuple[Part, ...]:
        return ()

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> Hook:
        raise WireError("this provider sends no webhooks")
