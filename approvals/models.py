"""ApprovalRequest, Vote, Decision, Delivery, AuditEntry and their constraints."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint
from django.utils import timezone

from approvals import ids
from streams import secrets
from streams.models import Run


class RequestStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    HELD = "held", "Held"  # decided; undo is possible or its batch is incomplete
    DECIDING = "deciding", "Sending"
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"
    REFUSED = "refused_by_provider", "Refused by provider"
    UNKNOWN = "unknown", "Unknown"
    EXPIRED = "expired", "Expired"
    WITHDRAWN = "withdrawn", "Withdrawn"
    STALE = "stale", "Stale"
    SUPERSEDED = "superseded", "Superseded"


OPEN = (RequestStatus.PENDING, RequestStatus.HELD, RequestStatus.DECIDING)


class Tier(models.TextChoices):
    T0 = "T0", "Logged"
    T1 = "T1", "Easy to undo"
    T2 = "T2", "Hard to undo"
    T3 = "T3", "Cannot be undone"


class Verdict(models.TextChoices):
    APPROVE = "approve", "Approve"
    REJECT = "reject", "Reject"


class Ran(models.TextChoices):
    """What the stream showed of a call that was approved and then carried out."""

    NOT_SHOWN = "", "Not shown"
    AS_APPROVED = "as_approved", "With the approved arguments"
    OTHERWISE = "otherwise", "With other arguments than were approved"


class Batch(models.Model):
    """Requests that one answer must cover (AG-UI: all interrupts of one run)."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    run = models.ForeignKey(Run, models.PROTECT, related_name="batches")
    round = models.PositiveSmallIntegerField(default=1)  # a later one offers again what was not taken
    changes = models.PositiveBigIntegerField(default=0)  # updating it is the lock that keeps its members' moves in line
    total = models.PositiveSmallIntegerField()
    closed_at = models.DateTimeField(null=True, blank=True)  # every member is answered: the Delivery became ready
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "batches"
        constraints: ClassVar = [UniqueConstraint(fields=["run", "round"], name="batch_once_per_round")]

    def __str__(self) -> str:
        return f"{self.total} questions of run {self.run_id}"


class ApprovalRequest(models.Model):
    """One tool call waiting for a person; settled once (lifecycle.py)."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    run = models.ForeignKey(Run, models.PROTECT, related_name="requests")
    call_id = models.CharField(max_length=300)  # the provider's: a replayed stream must find the same row
    version = models.PositiveSmallIntegerField(default=1)  # changed arguments are a new version
    batch = models.ForeignKey(Batch, models.PROTECT, null=True, blank=True, related_name="requests")
    tool = models.CharField(max_length=300)
    tool_call_id = models.CharField(max_length=300, blank=True)
    arguments = models.TextField()  # the exact text: hashed, shown, and what the decision is bound to
    input_sha256 = models.CharField(max_length=64)
    canonical_sha256 = models.CharField(max_length=64)  # of the parsed, key-sorted form: a re-spelling is no change
    marked = models.BooleanField(default=False)
    problem = models.TextField(blank=True)  # why it cannot be approved; empty: it can
    answerable = models.BooleanField(default=True)  # false: its id could not be kept, so no answer can name it
    alert = models.CharField(max_length=300, blank=True)  # what a reviewer must know about it, in our words
    message = models.TextField(blank=True)
    reason = models.CharField(max_length=200, blank=True)  # the provider's kind of question
    answer_schema = models.TextField(blank=True)
    offers_edit = models.BooleanField(default=False)
    offers_reason = models.BooleanField(default=False)
    offers_answer = models.BooleanField(default=False)
    needs_answer = models.BooleanField(default=False)  # a plain yes cannot be sent
    dialect = models.CharField(max_length=40, blank=True)  # AG-UI: the row of streams.dialects that answers go by
    unverified = models.BooleanField(default=False)  # no real server was seen to take answers of that dialect
    limits = models.TextField(blank=True)  # what else to know of answers to it, one sentence a line
    no_edit = models.TextField(blank=True)  # why changed arguments are not offered
    no_reason = models.TextField(blank=True)  # why a reason stays here
    no_reject = models.TextField(blank=True)  # why no plain refusal can be sent; empty: one can
    deadline = models.DateTimeField(null=True, blank=True)
    deadline_text = models.CharField(max_length=200, blank=True)  # as the provider sent it
    tier = models.CharField(max_length=2, choices=Tier, default=Tier.T2)
    rule_version = models.CharField(max_length=60, blank=True)
    opened_by_seq = models.PositiveBigIntegerField()
    reoffers = models.OneToOneField("self", models.PROTECT, null=True, blank=True, related_name="reoffered_as")
    status = models.CharField(max_length=20, choices=RequestStatus, default=RequestStatus.PENDING)
    status_changed_at = models.DateTimeField(default=timezone.now)
    requested_at = models.DateTimeField(default=timezone.now)
    settled_at = models.DateTimeField(null=True, blank=True, editable=False)
    ended_why = models.CharField(max_length=300, blank=True)  # where nobody here decided: who or what ended it
    ran = models.CharField(max_length=11, choices=Ran, blank=True)  # with which arguments, as the stream showed
    ran_arguments = models.TextField(blank=True)  # where they are others: their exact text
    ran_seq = models.PositiveBigIntegerField(null=True, blank=True)  # the event of the answering run that showed it

    class Meta:
        ordering: ClassVar = ["requested_at"]
        permissions: ClassVar = [
            ("decide_request", "Can decide approval requests"),
            ("withdraw_request", "Can withdraw approval requests"),
        ]
        constraints: ClassVar = [
            UniqueConstraint(fields=["run", "call_id", "version"], name="request_once_per_version"),
            UniqueConstraint(fields=["run", "call_id"], condition=Q(status__in=OPEN), name="request_one_open_version"),
            CheckConstraint(
                condition=Q(status__in=OPEN, settled_at__isnull=True)
                | (~Q(status__in=OPEN) & Q(settled_at__isnull=False)),
                name="request_settled_iff_dated",
            ),
            CheckConstraint(condition=Q(status__in=RequestStatus.values), name="request_status_known"),
            CheckConstraint(condition=Q(ran__in=Ran.values), name="request_ran_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["status", "requested_at"], name="request_by_status"),
            models.Index(fields=["-status_changed_at"], name="request_by_change"),
            models.Index(fields=["-requested_at"], name="request_by_time"),
            models.Index(fields=["deadline"], condition=Q(status__in=OPEN), name="request_by_deadline"),
            models.Index(fields=["ran_seq"], condition=Q(ran="otherwise"), name="request_ran_otherwise"),
        ]

    def __str__(self) -> str:
        return f"{self.tool} ({self.status})"


class Vote(models.Model):
    """What one person said about a request; one live vote each."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="votes")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="votes")
    verdict = models.CharField(max_length=7, choices=Verdict)
    reason = models.TextField(blank=True)
    seen_sha256 = models.CharField(max_length=64)
    voted_at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            UniqueConstraint(fields=["request", "by"], condition=Q(undone_at__isnull=True), name="vote_one_live_each"),
        ]

    def __str__(self) -> str:
        return f"{self.by}: {self.verdict}"


class Undone(models.TextChoices):
    UNDONE = "undone", "Undone"
    EXPIRED = "expired", "Expired before it left"
    WITHDRAWN = "withdrawn", "Withdrawn before it left"
    STALE = "stale", "The run was lost before it left"
    SUPERSEDED = "superseded", "The arguments changed before it left"


class Decision(models.Model):
    """What was decided on a request; one live decision each. Its id is the key sent along."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="decisions")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=7, choices=Verdict)
    reason = models.TextField(blank=True)
    edited = models.TextField(blank=True)  # JSON text of the full replacement arguments
    answer = models.TextField(blank=True)  # JSON text of a free answer
    seen_sha256 = models.CharField(max_length=64)
    via = models.CharField(max_length=20, default="page")  # page, api, chat, admin
    decided_at = models.DateTimeField(default=timezone.now)
    leaves_at = models.DateTimeField()  # undo is possible until then; in a batch until the whole batch leaves
    undone_at = models.DateTimeField(null=True, blank=True)  # it does not count (any more)
    undone_why = models.CharField(max_length=20, choices=Undone, blank=True)

    class Meta:
        constraints: ClassVar = [
            UniqueConstraint(fields=["request"], condition=Q(undone_at__isnull=True), name="decision_one_live"),
        ]
        indexes: ClassVar = [models.Index(fields=["-decided_at"], name="decision_by_time")]

    def __str__(self) -> str:
        return f"{self.verdict} by {self.by}"


class DeliveryState(models.TextChoices):
    WAITING = "waiting", "Waiting"  # undo window open, or batch incomplete
    READY = "ready", "Ready"
    CLAIMED = "claimed", "Claimed"
    SENT = "sent", "Sent"
    DELIVERED = "delivered", "Delivered"
    REFUSED = "refused", "Refused"
    UNKNOWN = "unknown", "Unknown"
    PARKED = "parked", "Parked"  # 401/403: goes on when the provider has a new secret
    CANCELLED = "cancelled", "Cancelled"


class DeliveryKind(models.TextChoices):
    DECISION = "decision", "Decision"
    BATCH = "batch", "Batch"
    WEBHOOK = "webhook", "Webhook"


class Delivery(models.Model):
    """The outbox: what must leave. Written in the transaction that caused it, carried by the courier."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    kind = models.CharField(max_length=8, choices=DeliveryKind)
    run = models.ForeignKey(Run, models.PROTECT, null=True, blank=True, related_name="deliveries")
    decision = models.ForeignKey(Decision, models.PROTECT, null=True, blank=True, related_name="deliveries")
    batch = models.ForeignKey(Batch, models.PROTECT, null=True, blank=True, related_name="deliveries")
    endpoint = models.ForeignKey("WebhookEndpoint", models.PROTECT, null=True, blank=True, related_name="deliveries")
    about = models.ForeignKey(  # webhooks: the request they tell of; a ping tells of none
        ApprovalRequest, models.PROTECT, null=True, blank=True, related_name="notices"
    )
    event = models.CharField(max_length=40, blank=True)  # webhooks: `approval.pending`, `approval.settled`, ...
    body = models.TextField(blank=True)  # webhooks: the payload as it will be signed
    state = models.CharField(max_length=9, choices=DeliveryState, default=DeliveryState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True, blank=True, default=timezone.now)  # null: its batch is incomplete
    claim_owner = models.CharField(max_length=100, blank=True)
    claim_epoch = models.BigIntegerField(default=0)  # grows with every claim: an old one's late writer changes nothing
    claim_expires_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    sent_after_seq = models.PositiveBigIntegerField(null=True, blank=True)  # the run's last event when it left
    maybe_taken = models.BooleanField(default=False)  # an earlier attempt left and got no answer
    only_open = models.BooleanField(default=False)  # no other request of the run was open when it was sent
    contrary_seq = models.PositiveBigIntegerField(null=True, blank=True)  # the event that says: not applied
    finished_at = models.DateTimeField(null=True, blank=True)
    answering_run = models.ForeignKey(  # AG-UI: the run whose stream is the answer
        Run, models.PROTECT, null=True, blank=True, related_name="carries"
    )
    answer_status = models.PositiveSmallIntegerField(null=True, blank=True)
    answer = models.TextField(blank=True)  # the receiver's words, trimmed
    evidence = models.TextField(blank=True)  # what proves the end: `2xx`, `event 190 of run ...`, a person's note
    last_error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            UniqueConstraint(
                fields=["decision"],
                condition=~Q(state=DeliveryState.CANCELLED) & Q(decision__isnull=False),
                name="delivery_one_live_per_decision",
            ),
            UniqueConstraint(
                fields=["batch"],
                condition=~Q(state=DeliveryState.CANCELLED) & Q(batch__isnull=False),
                name="delivery_one_live_per_batch",
            ),
            CheckConstraint(
                condition=Q(kind="decision", decision__isnull=False, run__isnull=False, batch=None, endpoint=None)
                | Q(kind="batch", batch__isnull=False, run__isnull=False, decision=None, endpoint=None)
                | Q(kind="webhook", endpoint__isnull=False, run=None, decision=None, batch=None),
                name="delivery_carries_its_kind",
            ),
            CheckConstraint(condition=Q(state__in=DeliveryState.values), name="delivery_state_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["state", "next_at"], name="delivery_by_due"),
            models.Index(fields=["-created_at"], name="delivery_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"


class WebhookEndpoint(models.Model):
    """Who is told by signed webhook what is waiting."""

    id = models.UUIDField(primary_key=True, default=ids.in_order, editable=False)
    url = models.CharField(max_length=500)
    secret_sealed = models.TextField(editable=False)
    previous_secret_sealed = models.TextField(blank=True, editable=False)
    previous_until = models.DateTimeField(null=True, blank=True)
    events = models.JSONField(default=list, blank=True)  # empty: all
    disabled_at = models.DateTimeField(null=True, blank=True)
    disabled_why = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.url

    def set_secret(self, secret: str) -> None:
        """Seal a new secret (not saved yet)."""
        self.secret_sealed = secrets.seal(secret, owner=f"webhook:{self.pk}")


class AuditHead(models.Model):
    """The one row that every audit entry updates first, so that the chain cannot fork."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    seq = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [CheckConstraint(condition=Q(id=1), name="audit_head_is_one")]

    def __str__(self) -> str:
        return f"{self.seq} {self.hash[:12]}"


class AuditEntry(models.Model):
    """Append-only and hash-chained: who did what, to what, when, from where. Triggers refuse UPDATE and DELETE."""

    seq = models.PositiveBigIntegerField(primary_key=True)
    format = models.PositiveSmallIntegerField(default=1)
    at = models.DateTimeField()
    actor = models.CharField(max_length=150)  # user name, `token:<prefix>` or `system`
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=120)  # `request:<uuid>`, `provider:<uuid>`
    origin = models.CharField(max_length=120, blank=True)  # from where: address and channel
    data = models.TextField()  # canonical JSON; hashes of inputs, never inputs
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering: ClassVar = ["seq"]
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [models.Index(fields=["target", "seq"], name="audit_by_target")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action} by {self.actor}"
