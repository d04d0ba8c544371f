"""Real pauses in the database: frames folded by the AG-UI adapter, stored as the journal stores them, and answered."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import Permission
from django.utils import timezone

from approvals import answers, outbox, requests
from approvals.decisions import decide
from approvals.models import ApprovalRequest
from dashboard.models import User
from streams import commit
from streams.events import Asked
from streams.folding import account_of, view_of
from streams.journal import Entry
from streams.models import Lease, Provider, Run, RunStatus, Source
from streams.providers.agui import AGUI
from streams.providers.base import Call
from streams.sse import Frame
from tests import factories
from tests.streams import tapes
from tests.streams.agui_frames import called as called
from tests.streams.agui_frames import ev, finished

agui = AGUI()
ARGUMENTS = '{"to": "ana@shop.example", "cents": 1200}'
ONLY_APPROVED = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
FLAT = {
    "type": "object",
    "properties": {name: {"type": "boolean"} for name in ("approved", "accepted")} | {"editedArgs": {"type": "object"}},
    "additionalProperties": False,
}


def reviewer(**fields: Any) -> User:
    made = factories.user(**fields)
    made.user_permissions.add(Permission.objects.get(codename="decide_request"))
    return User.objects.get(pk=made.pk)


def server(**fields: Any) -> Provider:
    return factories.provider(**{"kind": "agui", "base_url": "http://127.0.0.1:9/agent", **fields})


def opened(provider: Provider | None = None, **fields: Any) -> Run:
    """A run that is being listened to."""
    provider = Provider.objects.get(pk=provider.pk) if provider else server()
    made = factories.run(provider=provider, **{"external_id": None, "thread_id": "", **fields})
    Run.objects.filter(pk=made.pk).update(external_id=str(made.pk), thread_id=f"thread-{made.pk}")
    lease(made)
    return Run.objects.select_related("provider").get(pk=made.pk)


def lease(run: Run) -> None:
    Lease.objects.update_or_create(
        run=run, defaults={"owner": "me", "epoch": 1, "expires_at": timezone.now() + timedelta(seconds=60)}
    )


def play(run: Run, frames: Sequence[Frame], call: Call | None = None) -> None:
    """Fold a run's frames and store them, one batch for all, with what they mean for requests."""
    state = agui.initial(account_of(run.provider), view_of(run), call)
    entries = []
    for ordinal, frame in enumerate(frames):
        state, facts = agui.step(state, frame)
        asks = any(isinstance(fact, Asked) for fact in facts)
        entries.append(
            Entry(
                run_id=run.pk,
                epoch=1,
                source=Source.PROVIDER,
                kind=agui.kind_of(frame),
                payload=frame.data,
                received_at=timezone.now(),
                ordinal=ordinal,
                facts=facts,
                state=agui.dump(state) if asks else None,
            )
        )
    commit.commit(entries, requests.project)


def begins(run: Run) -> Frame:
    return ev("RUN_STARTED", threadId=run.thread_id, runId=run.external_id)


def ends(run: Run, **fields: Any) -> Frame:
    return finished(str(run.external_id), run.thread_id, **fields)


def asks_with(run: Run, *interrupts: dict[str, Any], calls: Sequence[Frame] = ()) -> list[ApprovalRequest]:
    """Pause a run with these interrupts; returns what it asks then."""
    play(run, [begins(run), *calls, ends(run, outcome={"type": "interrupt", "interrupts": list(interrupts)})])
    return of(run)


def of(run: Run) -> list[ApprovalRequest]:
    return list(ApprovalRequest.objects.filter(run=run).order_by("call_id"))


def mail(call_id: str = "tc-4", arguments: str = ARGUMENTS) -> list[Frame]:
    return called(call_id, "send_email", arguments)


def result(call_id: str = "tc-4") -> Frame:
    return ev("TOOL_CALL_RESULT", messageId=f"r-{call_id}", toolCallId=call_id, content="sent")


def pydantic(call_id: str = "tc-4", **fields: Any) -> dict[str, Any]:
    return {"id": f"int-{call_id}", "reason": "tool_call", "toolCallId": call_id, **fields}


def framework(number: int, name: str = "send_email") -> dict[str, Any]:
    call = {"call_id": f"tc-{number}", "name": name, "arguments": {"n": number}}
    own = {"metadata": {"agent_framework": {"function_call": call}}, "responseSchema": FLAT}
    return {"id": f"af-{number}", "reason": "tool_call", "toolCallId": f"tc-{number}", **own}


def adk(number: int) -> dict[str, Any]:
    original = {"id": f"tc-{number}", "name": "send_email", "args": {"n": number}}
    own = {"metadata": {"adk": {"originalFunctionCall": original}}}
    return {"id": f"adk-{number}", "reason": "confirmation", "toolCallId": f"adk-{number}", **own}


def mastra(number: int) -> dict[str, Any]:
    own = {"metadata": {"mastra": {"toolName": "send_email", "args": {"n": number}}}}
    return {"id": f"m::{number}", "reason": "mastra:tool_suspend", "toolCallId": f"tc-{number}", **own}


def crewai(*options: str) -> dict[str, Any]:
    schema = {"responseSchema": {"type": "string", "enum": list(options)}} if options else {}
    return {"id": "thread-1", "reason": "crewai:human_feedback", "metadata": {"crewai": {"output": {"a": 1}}}, **schema}


def strands(number: int = 4) -> dict[str, Any]:
    call = {"tool_name": "send_email", "tool_input": json.loads(ARGUMENTS)}
    own = {"metadata": call, "responseSchema": ONLY_APPROVED}
    return {"id": f"v1:before_tool_call:tc-{number}:u", "reason": "tool_call", "toolCallId": f"tc-{number}", **own}


def langgraph(*tools: str, allows: Sequence[str] = ("approve", "edit", "reject")) -> dict[str, Any]:
    actions = [{"name": tool, "args": {"to": "ana@shop.example", "n": n}} for n, tool in enumerate(tools)]
    configs = [{"action_name": tool, "allowed_decisions": list(allows)} for tool in tools]
    raw = {"action_requests": actions, "review_configs": configs}
    return {"id": "d" * 32, "reason": "langgraph:interrupt", "metadata": {"langgraph": {"raw": raw}}}


def per_call(*allows: str, arguments: str = ARGUMENTS) -> dict[str, Any]:
    """LangGraph's middleware, one interrupt a call: of `send_email`, as `tc-4`."""
    raw = {"type": "tool_approval", "tool_call_id": "tc-4", "name": "send_email", "args": json.loads(arguments)}
    schema = {"oneOf": [{"type": "object", "properties": {"type": {"const": kind}}} for kind in allows]}
    asks = {"id": "a" * 32, "reason": "langgraph:interrupt", "toolCallId": "tc-4", "responseSchema": schema}
    return {**asks, "metadata": {"langgraph": {"raw": raw}}}


def answered(asked: ApprovalRequest, by: User, verdict: str = "approve", **said: Any) -> tuple[Run, Call]:
    """Decide it, and let the answer leave: the run that it opened, and the call that did."""
    decide(asked.pk, verdict=verdict, by=by, seen_sha256=asked.input_sha256, **said)
    return carried()


def carried() -> tuple[Run, Call]:
    """Let the one answer that is ready leave."""
    (claim,) = outbox.claim("me", room=5)
    prepared = answers.prepare(claim)
    run_id = outbox.mark_sent(
        claim,
        answered=prepared.answered,
        body_sha256=prepared.body_sha256,
        answering_id=prepared.answering_id,
    )
    assert run_id is not None
    run = Run.objects.select_related("provider").get(pk=run_id)
    Run.objects.filter(pk=run_id).update(status=RunStatus.STREAMING)
    lease(run)
    return run, prepared.call


def tape(name: str, run: Run, call_id: str = "") -> list[Frame]:
    """A recorded exchange as this run would have told it: its own ids instead of those of the recording."""
    posted = tapes.posted(name)
    pairs = [(posted["runId"], str(run.external_id)), (posted["threadId"], run.thread_id)]
    starts = [json.loads(frame.data) for frame in tapes.frames(name) if agui.kind_of(frame) == "TOOL_CALL_START"]
    if call_id:  # the exchange belongs to another thread, on which the call had another id
        pairs += [(starts[0]["toolCallId"], call_id)]
    told = []
    for frame in tapes.frames(name):
        data = frame.data
        for theirs, ours in pairs:
            data = data.replace(json.dumps(theirs), json.dumps(ours))
        told.append(Frame(data=data))
    return told
