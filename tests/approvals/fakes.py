"""Providers without a wire for the tests of what people answer, events as the journal hands them over, and a clock."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from approvals import requests
from approvals.models import ApprovalRequest
from streams import events
from streams.errors import WireError
from streams.events import Asked, Fact
from streams.journal import Stored
from streams.models import Run, Source
from streams.providers.base import (
    READ_BACK,
    Account,
    Answer,
    Applied,
    Call,
    Capabilities,
    Carried,
    Plain,
    Refusal,
    RunView,
)
from streams.sse import Frame

HASH = events.sha256('{"a":1}')


class FakeProvider(Plain):
    """An adapter whose evidence is written in the payload: {"applied": [call ids], "not_applied": [call ids]}.

    What is under "alone" was applied only where no other question of the run can be meant. A reading lists what is
    under "asks": {call id: arguments}.
    """

    def __init__(self, kind: str, **capabilities: Any) -> None:
        self.kind = self.label = kind
        self.capabilities = Capabilities(
            **{
                "edit": True,
                "reason": True,
                "ask": False,
                "cancel_run": False,
                "batch": False,
                "answer_streams": False,
                "idempotent_decision": False,
                "read_back": False,
                "replay": "none",
                "replay_exact": True,
                "repeatable_start": False,
                "stall_s": None,
                "stall_waiting_s": None,
                "watch": True,
                "needs_workflow": False,
                "needs_task": False,
                "evidence_kinds": frozenset({"result"}),
                **capabilities,
            }
        )

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> Any:
        return "{}"

    def dump(self, state: Any) -> str:
        return str(state)

    def load(self, text: str) -> Any:
        return text

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        if account.options.get("mute"):
            raise WireError("the wire has no word for it")
        said = [{"call": a.question.call_id, "verdict": a.verdict, "key": str(a.key)} for a in answers]
        body = {"run": run.external_id, "answers": said, "new_run": new_run_id}
        return Call(
            "POST",
            f"{account.base_url}/answer",
            {"x-key": account.secret, "content-type": "application/json"},
            json.dumps(body).encode(),
            streams=self.capabilities.answer_streams,
        )

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        return Refusal("", body.decode("utf-8", "replace"))

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        said: Mapping[str, Any] = json.loads(payload) if payload.startswith("{") else {}
        call_id = carried.question.call_id
        if call_id in said.get("applied", []) or (carried.only_open and call_id in said.get("alone", [])):
            return "applied"
        return "not_applied" if call_id in said.get("not_applied", []) else None

    def step(self, state: Any, frame: Frame) -> tuple[Any, tuple[Fact, ...]]:
        return state, ()

    def read_run(self, state: Any, body: str) -> tuple[Any, tuple[Fact, ...]]:
        listed: Mapping[str, str] = json.loads(body).get("asks", {}) if body.startswith("{") else {}
        together = self.capabilities.batch and len(listed) > 1
        return state, tuple(asked(call_id, text, together=together) for call_id, text in listed.items())

    def not_accepted(self, error: str) -> bool:
        return error == "not accepted"


ALONE = FakeProvider("alone")
REPEATABLE = FakeProvider("repeatable", idempotent_decision=True)
TOGETHER = FakeProvider("together", batch=True, answer_streams=True)
READ = FakeProvider("read", read_back=True, confirm_s=10.0, evidence_kinds=frozenset({READ_BACK, "result"}))
PAUSES = FakeProvider(
    "pauses", batch=True, read_back=True, confirm_s=10.0, evidence_kinds=READ.capabilities.evidence_kinds
)
REGISTRY = {one.kind: one for one in (ALONE, REPEATABLE, TOGETHER, READ, PAUSES)}


class Clock:
    """The database's clock, in a test's hand."""

    def __init__(self) -> None:
        self.at: datetime = timezone.now().replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def asked(call_id: str = "c1", arguments: str = '{"a":1}', **fields: Any) -> Asked:
    return Asked(**{"call_id": call_id, "tool": "pay", "arguments": arguments, "edit": True, **fields})


def stored(
    run: Run | UUID,
    *facts: Fact,
    kind: str = "any",
    payload: str = "",
    seq: int = 1,
    source: Source = Source.PROVIDER,
    at: datetime | None = None,
) -> Stored:
    return Stored(
        run_id=run.pk if isinstance(run, Run) else run,
        seq=seq,
        source=source,
        kind=kind,
        payload=payload,
        sha256=events.sha256(payload),
        marked=False,
        received_at=at or timezone.now() + timedelta(days=1),
        facts=facts,
    )


def tell(run: Run | UUID, *facts: Fact, **fields: Any) -> None:
    """Project one event, as the journal does it."""
    with transaction.atomic():
        requests.project([stored(run, *facts, **fields)])


def newest(run: Run, call_id: str = "c1") -> ApprovalRequest:
    found = ApprovalRequest.objects.filter(run=run, call_id=call_id).order_by("-version").first()
    assert found is not None
    return found
