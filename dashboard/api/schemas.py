"""What goes in and out, as the OpenAPI page shows it. Names are fixed: outside programs use them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field

from approvals.models import DeliveryState, RequestStatus, Tier, Verdict
from streams.jsontext import UNSTORABLE
from streams.models import RunStatus, Source


def _storable(value: str) -> str:
    if UNSTORABLE.search(value):
        raise ValueError("it holds NUL or half a character")
    return value


Name = Annotated[str, Field(max_length=300), AfterValidator(_storable)]
LongText = Annotated[str, Field(max_length=100_000)]


class In(Schema):
    """A body: unknown members are refused, nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StartIn(In):
    provider: Name
    task: LongText = ""
    workflow: Name = ""
    options: dict[str, Any] = Field(default_factory=dict)


class WatchIn(In):
    provider: Name
    external_id: Annotated[str, Field(min_length=1, max_length=255)]


class DecisionIn(In):
    verdict: Literal["approve", "reject"]
    input_sha256: str = Field(
        max_length=64, description="The hash of the arguments you decided on, as the request shows it."
    )
    reason: LongText = ""
    edited_input: Any = Field(default=None, description="Full replacement arguments, where `can.edit`.")
    answer: Any = Field(default=None, description="A free answer, where `can.answer`.")
    undo_s: int = Field(default=0, ge=0, le=600, description="Seconds in which DELETE takes it back.")


class ApprovalFilters(Schema):
    status: RequestStatus | None = None
    provider: Name | None = None
    run_id: UUID | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: Annotated[str, Field(max_length=200)] = ""


class EventFilters(Schema):
    after: int = Field(default=0, ge=0, le=2**63 - 1, description="The `seq` you have read up to.")
    limit: int = Field(default=100, ge=1, le=1000)


class Run(Schema):
    id: UUID
    provider: str
    external_id: str | None
    thread_id: str | None
    continues: UUID | None
    continued_by: UUID | None
    status: RunStatus
    outcome: str | None
    title: str
    error: str | None
    started_at: datetime
    ended_at: datetime | None
    pending: int = Field(description="Requests of this run that wait for a person.")


class Event(Schema):
    seq: int
    source: Source
    kind: str
    at: datetime
    data: str = Field(description="The payload's exact text.")
    sha256: str


class Events(Schema):
    items: list[Event]
    next: str | None


class Can(Schema):
    """What a decision can carry. All false where the provider takes no decision from here (`read_only`)."""

    edit: bool
    reason: bool = Field(
        description="Whether the provider hears the reason. Elsewhere one is accepted and kept, unless `cannot.reason` "
        "says that none is taken."
    )
    answer: bool
    undo: bool


class Cannot(Schema):
    """What no answer to this request can say, and why, in words; null where nothing stands against it."""

    approve: str | None
    reject: str | None = Field(
        description="No plain refusal can be sent that is sure to run nothing; where `can.answer`, a rejection carries "
        "an answer that says no."
    )
    edit: str | None
    reason: str | None = Field(description="Why the provider does not hear a reason.")


class Dialect(Schema):
    """AG-UI: how answers to this request go."""

    name: str = Field(description="The framework or its variant; `plain` is AG-UI 1.0 itself.")
    verified: bool = Field(description="Whether a real server was seen to take answers that go so.")


class Batch(Schema):
    id: UUID | None
    open: int
    total: int


class Decision(Schema):
    verdict: Verdict
    by: str
    reason: str
    at: datetime


class Delivery(Schema):
    state: DeliveryState
    attempts: int
    last_error: str | None


class Approval(Schema):
    id: UUID
    run_id: UUID
    provider: str
    tool_name: str
    tool_input: Any = Field(description="The parsed arguments; null where they are not readable as JSON.")
    tool_input_text: str = Field(description="The exact text that was hashed.")
    input_sha256: str
    message: str | None
    status: RequestStatus
    tier: Tier
    can: Can
    cannot: Cannot
    needs_answer: bool = Field(description="Whether an approval has to carry `answer`.")
    limits: list[str] = Field(description="What else to know of answers to it, in sentences.")
    dialect: Dialect | None = Field(description="Null for providers other than AG-UI.")
    answer_schema: Any = Field(description="JSON Schema of the answer, where the provider sent one.")
    batch: Batch
    requested_at: datetime
    deadline: datetime | None
    decision: Decision | None
    delivery: Delivery | None
    ran: Literal["as_approved", "otherwise"] | None = Field(
        description="With which arguments the call ran, where the stream showed it; `otherwise` is an alert."
    )
    ran_input_text: str | None = Field(description="The exact arguments that ran, where they are others.")


class Approvals(Schema):
    items: list[Approval]
    next: str | None


class FieldProblem(Schema):
    field: str
    message: str


class Problem(Schema):
    code: str = Field(description="One word for programs, such as `invalid`, `not_permitted` or `read_only`.")
    detail: str
    errors: list[FieldProblem]


class Conflict(Problem):
    decision: Decision | None
