"""What the database itself holds: requests, runs, events, deliveries and the audit chain, at one moment."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.countersign import Countersign

READ = "from tests.e2e.ledger import told; print(told())"


def told() -> str:
    """Everything as JSON, from within a process that has the database. Payloads and webhooks are left out."""
    from approvals.models import ApprovalRequest, AuditEntry, AuditHead, Decision, Delivery, DeliveryKind
    from streams.models import Event, Run

    def attempts(asked: ApprovalRequest, made: Decision) -> int:
        sent = list(made.deliveries.all())
        if asked.batch is not None and made.undone_at is None:
            sent += asked.batch.deliveries.all()
        return sum(one.attempts for one in sent)

    requests = ApprovalRequest.objects.select_related("run__provider", "batch")
    requests = requests.prefetch_related("decisions__deliveries", "batch__deliveries").order_by("requested_at", "pk")
    deliveries = Delivery.objects.exclude(kind=DeliveryKind.WEBHOOK).order_by("created_at", "pk")
    head = AuditHead.objects.get(pk=1)
    everything = {
        "requests": [
            {
                "id": str(one.pk),
                "kind": one.run.provider.kind,
                "run_id": str(one.run_id),
                "external_id": one.run.external_id,
                "call_id": one.call_id,
                "version": one.version,
                "status": one.status,
                "input_sha256": one.input_sha256,
                "batch": str(one.batch_id or ""),
                "deadline": _moment(one.deadline),
                "decisions": [
                    {
                        "id": str(made.pk),
                        "verdict": made.verdict,
                        "seen_sha256": made.seen_sha256,
                        "reason": made.reason,
                        "edited": made.edited,
                        "live": made.undone_at is None,
                        "why": made.undone_why,
                        "left": attempts(one, made),
                    }
                    for made in one.decisions.all()
                ],
            }
            for one in requests
        ],
        "runs": [
            {
                "id": str(one.pk),
                "kind": one.provider.kind,
                "external_id": one.external_id,
                "status": one.status,
                "title": one.title,
                "continues": str(one.continues_id or ""),
                "error": one.error,
            }
            for one in Run.objects.select_related("provider")
        ],
        "deliveries": [
            {
                "id": str(one.pk),
                "decision": str(one.decision_id or ""),
                "batch": str(one.batch_id or ""),
                "state": one.state,
                "attempts": one.attempts,
                "evidence": one.evidence,
                "sent_at": _moment(one.sent_at),
            }
            for one in deliveries
        ],
        "events": [
            [str(run_id), *rest]
            for run_id, *rest in Event.objects.order_by("run", "id").values_list(
                "run", "seq", "source", "kind", "sha256"
            )
        ],
        "audit": [
            {**{name: getattr(one, name) for name in AUDITED if name != "at"}, "at": _moment(one.at)}
            for one in AuditEntry.objects.order_by("seq")
        ],
        "audit_head": [head.seq, head.hash],
    }
    return json.dumps(everything)


AUDITED = ("format", "seq", "previous", "at", "actor", "action", "target", "origin", "data", "hash")


def _moment(at: datetime | None) -> str:
    """UTC to the microsecond, so that texts compare as times do; empty for none."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if at else ""


@dataclass(frozen=True, slots=True)
class Made:
    """One decision."""

    verdict: str
    seen_sha256: str
    reason: str
    edited: str
    live: bool
    why: str
    left: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One version of a request with all its decisions."""

    id: str
    kind: str
    run_id: str
    external_id: str | None
    call_id: str
    version: int
    status: str
    input_sha256: str
    decisions: tuple[Made, ...]
    batch: str = ""
    deadline: str = ""  # UTC, empty for none

    @property
    def decision(self) -> Made | None:
        return next((made for made in self.decisions if made.live), None)

    @property
    def name(self) -> str:
        return f"request {self.id} ({self.kind} {self.call_id} v{self.version})"


@dataclass(frozen=True, slots=True)
class Stored:
    """One event; `seq` is our number of it within its run."""

    run_id: str
    seq: int
    source: str
    kind: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything at one moment."""

    requests: list[Asked]
    runs: list[dict[str, Any]] = field(default_factory=list)
    deliveries: list[dict[str, Any]] = field(default_factory=list)
    events: list[Stored] = field(default_factory=list)
    audit: list[dict[str, Any]] = field(default_factory=list)
    audit_head: tuple[int, str] = (0, "0" * 64)

    def about(self, effect: dict[str, Any]) -> list[Asked]:
        """The versions of the request that an effect belongs to: by the provider's own id of it."""
        key = (effect["kind"], effect["run"], effect["approval"])
        return [one for one in self.requests if (one.kind, one.external_id, one.call_id) == key]


def read(house: Countersign) -> Ledger:
    """Ask the database, through a process of its own."""
    return parse(house.command("shell", "--no-imports", "-c", READ).splitlines()[-1])


def parse(text: str) -> Ledger:
    """What told() told."""
    rows = json.loads(text)
    return Ledger(
        [Asked(**{**row, "decisions": tuple(Made(**made) for made in row["decisions"])}) for row in rows["requests"]],
        rows["runs"],
        rows["deliveries"],
        [Stored(*row) for row in rows["events"]],
        rows["audit"],
        tuple(rows["audit_head"]),
    )
