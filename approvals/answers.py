"""What people said, put into the provider's words: the one call that a delivery makes."""

import hashlib
import math
import time
import uuid
from dataclasses import dataclass, field
from uuid import UUID

from approvals import deadlines, outbox
from approvals.models import ApprovalRequest, Decision, Delivery, RequestStatus
from approvals.outbox import Claim, ClaimLost
from streams import folding, models, providers
from streams.errors import WireError
from streams.models import ENDED, Checkpoint, Run
from streams.providers.base import Account, Answer, Call, Provider, Question, RunView

BY_NOBODY = (RequestStatus.EXPIRED, RequestStatus.WITHDRAWN)  # members of a batch whose answer says so


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is ready to leave, and what must still hold when it does."""

    claim: Claim
    call: Call
    provider: Provider
    answered: tuple[UUID, ...]  # the requests whose decisions it carries; expired members are not among them
    body_sha256: str
    answering_id: str = ""  # external id of the run that the answer opens
    sealed: str = field(default="", repr=False)  # the sealed secret it was built with
    leave_by: float = math.inf  # the last moment for its first byte, on this process's monotonic clock


class RunOver(Exception):
    """The run ended while an attempt was under way that came to nothing: there is nobody to answer."""

    def __init__(self, run_id: UUID) -> None:
        super().__init__(f"run {run_id} is over")
        self.run_id = run_id


def prepare(claim: Claim) -> Prepared:
    """Build the call of a claimed delivery.

    Raises ClaimLost where there is nothing to answer any more, RunOver where there is nobody, WireError where the wire
    cannot carry the answer, SecretError where the provider's secret does not open, LookupError for a provider kind that
    is not there.
    """
    began = time.monotonic()
    delivery = Delivery.objects.select_related("run__provider", "decision__request").get(pk=claim.delivery_id)
    run = delivery.run
    assert run is not None  # a constraint: only webhooks have none
    adapter = providers.get(run.provider.kind)
    live = {
        decision.request_id: decision
        for decision in Decision.objects.filter(request__run=run, undone_at=None).select_related("by")
    }
    asked = [one for one in outbox.carried(delivery) if one.status in (RequestStatus.DECIDING, *BY_NOBODY)]
    if not asked or (delivery.decision and asked[0].status != RequestStatus.DECIDING):
        raise ClaimLost
    if run.status in ENDED:
        raise RunOver(run.pk)
    answers = [_answer(one, live.get(one.pk)) for one in sorted(asked, key=lambda one: (one.requested_at, one.pk))]
    answering_id = str(uuid.uuid4()) if adapter.capabilities.answer_streams else ""
    account, view = account_of(run), view_of(run)
    state = _state(adapter, account, run, view)
    call = adapter.decision_call(account, view, state, answers, new_run_id=answering_id)
    return Prepared(
        claim=claim,
        call=call,
        provider=adapter,
        answered=tuple(one.pk for one in asked if one.status == RequestStatus.DECIDING),
        body_sha256=hashlib.sha256(call.body or b"").hexdigest(),
        answering_id=answering_id,
        sealed=run.provider.secret_sealed,
        leave_by=began + _left_s(asked),
    )


def _left_s(asked: list[ApprovalRequest]) -> float:
    """How long it may take to leave: until the first deadline, and never longer than a claim is worth.

    A courier that slept would otherwise send what another one has given up meanwhile.
    """
    left_s = float(outbox.CLAIM_S)
    dated = [one.deadline for one in asked if one.deadline and one.status == RequestStatus.DECIDING]
    return min(left_s, (min(dated) - deadlines.now()).total_seconds()) if dated else left_s


def _answer(asked: ApprovalRequest, decision: Decision | None) -> Answer:
    if asked.status in BY_NOBODY or decision is None:
        return Answer(question=question(asked), verdict="nobody", key=asked.pk)
    return Answer(
        question=question(asked),
        verdict="approve" if decision.verdict == "approve" else "reject",
        key=decision.pk,
        reason=decision.reason,
        edited=decision.edited,
        answer=decision.answer,
        reviewer=decision.by.get_username(),
    )


def question(asked: ApprovalRequest) -> Question:
    """A request as its adapter knows it."""
    return Question(
        call_id=asked.call_id,
        tool=asked.tool,
        arguments=asked.arguments,
        tool_call_id=asked.tool_call_id,
        answer_schema=asked.answer_schema,
        dialect=asked.dialect,
    )


def account_of(run: Run) -> Account:
    """What an adapter may know of the run's provider. Raises SecretError when its secret does not open."""
    row = run.provider
    return Account(base_url=row.base_url, secret=row.secret, dialect=row.dialect, options=row.options)


def public_account_of(row: models.Provider) -> Account:
    """The same without the secret, for whoever sends nothing."""
    return Account(base_url=row.base_url, dialect=row.dialect, options=row.options)


def view_of(run: Run) -> RunView:
    """What an adapter may know of the run."""
    return RunView(
        id=run.pk,
        external_id=run.external_id or "",
        thread_id=run.thread_id,
        stream_url=run.stream_url,
        task=run.task,
        workflow=run.workflow,
        options=run.options,
    )


def _state(adapter: Provider, account: Account, run: Run, view: RunView) -> object:
    """The fold state at the question. An answer that opens a stream sends the history back: it needs the saved one.

    Where the run itself tells what it asks now, the state is the one after its last event.
    """
    if adapter.capabilities.read_back:
        return folding.state_of(run, adapter=adapter)
    saved = Checkpoint.objects.filter(run=run).first()
    if saved is not None:
        return adapter.load(saved.state)
    if adapter.capabilities.answer_streams:
        raise WireError("the run's history was not saved, so it cannot be sent back with the answer")
    return adapter.initial(account, view)
