"""Believable rows for pictures: every page, and requests and runs in every state that looks different."""

import json
from datetime import timedelta
from random import Random
from typing import Any

SQL = "-- close stale orders\nUPDATE orders\n   SET status    = 'closed',\n       closed_at = NOW()\n;"


def at(minutes: float) -> Any:
    from django.utils import timezone

    return timezone.now() + timedelta(minutes=minutes)


def events(run: Any, told: list[tuple[str, Any]], *, start: float = -12, source: str = "provider") -> int:
    """Store events of a run; returns the last seq."""
    from streams import events as wire
    from streams.models import Event

    seq = Event.objects.filter(run=run).count()
    for offset, (kind, payload) in enumerate(told, start=1):
        house = kind.startswith("house:")
        text = payload if isinstance(payload, str) else json.dumps(payload)
        Event.objects.create(
            run=run, seq=seq + offset, source="house" if house else source, kind=kind.removeprefix("house:"),
            ordinal=None if house else seq + offset, payload=text, sha256=wire.sha256(text),
            received_at=at(start + offset * 0.05),
        )  # fmt: skip
    return seq + len(told)


def chunks(text: str, size: int = 9) -> list[tuple[str, Any]]:
    return [("chunk", {"content": text[index : index + size]}) for index in range(0, len(text), size)]


def seed() -> dict[str, str]:
    """Believable rows; returns names of pages and their paths."""
    from approvals.models import Batch, Decision, Delivery
    from streams.emulator.payloads import PAYLOADS
    from streams.emulator.scenarios import SCENARIOS
    from streams.models import Lease, Run
    from tests import factories

    mara = factories.user(username="mara", is_staff=True, is_superuser=True)
    joon = factories.user(username="joon")
    mindra = factories.provider(name="billing-helper", kind="mindra")
    agui = factories.provider(name="ops-runner", kind="agui", base_url="http://127.0.0.1:9/agent")
    paths: dict[str, str] = {}

    def run(provider: Any, title: str, task: str, status: str = "waiting", **more: Any) -> Any:
        row = factories.run(
            provider=provider, title=title, task=task, status=status, started_by=mara, last_event_at=at(-0.1), **more
        )
        Run.objects.filter(pk=row.pk).update(started_at=at(-14))
        return row

    def ask(run: Any, tool: str, arguments: Any, **more: Any) -> Any:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        more.setdefault("requested_at", at(-11))
        return factories.request(run=run, tool=tool, arguments=text, **more)

    def decide(asked: Any, verdict: str, by: Any, **more: Any) -> Any:
        made = Decision.objects.create(
            request=asked, by=by, verdict=verdict, seen_sha256=asked.input_sha256, decided_at=at(-1),
            leaves_at=more.pop("leaves_at", at(-0.9)), **more,
        )  # fmt: skip
        return made

    # a refund, with a whole run behind it
    refund_run = run(mindra, "Returns, week 47", "Handle the complaint about the broken parcel", connected_at=at(-13))
    Lease.objects.create(run=refund_run, owner="holder-2:4711:9f3a", epoch=7, expires_at=at(10))
    last = events(
        refund_run,
        [
            ("house:connected", {"text": "Listening to the provider's stream."}),
            *chunks("The customer reports that order 20931 arrived broken. I will look at what was paid. "),
            ("tool_executing", {"tool_name": "order_lookup", "tool_input": {"order": "20931"}}),
            ("tool_result", {"tool_name": "order_lookup", "result": "delivered 6 days ago, 480.00 EUR, paid by card"}),
            *chunks("The parcel was scanned as damaged; the policy allows a full refund within 30 days."),
            ("house:gap", {"text": "Others were sent between these two events. A request could be among them."}),
            *chunks("I ask for the refund now."),
        ],
    )  # fmt: skip
    refund = ask(
        refund_run,
        "refund",
        '{"amount": 480.00, "currency": "EUR", "order": "20931", "customer": "C-20931", "reason": "damaged_goods"}',
        deadline=at(9), opened_by_seq=last + 1, offers_edit=True, message="Refund 480.00 EUR to Ines Okafor?",
    )  # fmt: skip
    events(refund_run, [("approval_request", {"approval_id": refund.call_id, "tool_name": "refund", "tool_input": {}})])
    paths |= {"request-refund": f"/requests/{refund.pk}/", "run": f"/runs/{refund_run.pk}/"}
    paths["inbox-split"] = f"/?open={refund.pk}"

    mail_run = run(mindra, "Payment reminder", "Chase the open freight invoices and tell vendors where to pay.")
    mail = ask(
        mail_run, "send_email",
        {"to": "accounts@rnarlowe-frеight.example", "cc": "", "attachments": ["bank-details.pdf"],
         "subject": "Updated remittance details for invoice 8841",
         "body": "Dear accounts team,\n\nplease use the attached account for invoice 8841. \u200bThe change is "
         "effective at once\u200b and replaces all earlier details.\u202e\n\nKind regards\nVendor desk"},
        deadline=at(4.2), tier="T3", offers_edit=True, message="I will tell the vendor where to pay from now on.",
    )  # fmt: skip
    paths["request-mail"] = f"/requests/{mail.pk}/"

    sql_run = run(agui, "Close what is left over from the old shop", "Close what is left over from the old shop.")
    sql = ask(
        sql_run, "run_sql",
        {"sql": SQL, "database": "orders-rw"},
        deadline=at(22.6),
    )  # fmt: skip
    paths["request-sql"] = f"/requests/{sql.pk}/"
    shell = ask(
        run(agui, "Make room on the web server", "Make room on the web server that is full"), "run_command",
        {"host": "web-07.kestrel.example", "command": "find /srv/exports -type f -mtime +14 -delete", "user": "deploy"},
    )  # fmt: skip
    paths["request-shell"] = f"/requests/{shell.pk}/"

    batch_run = run(agui, "Delete an account", "Delete the account as its owner asked")
    batch = Batch.objects.create(run=batch_run, total=3)
    first = ask(
        batch_run,
        "delete_account",
        {"account": "acc_48210", "owner": "mei@northlight.example"},
        batch=batch,
        status="held",
    )
    decide(first, "approve", mara, leaves_at=at(0.05))
    second = ask(
        batch_run,
        "delete_files",
        {"account": "acc_48210", "bucket": "uploads", "files": 212},
        batch=batch,
        deadline=at(31),
    )
    ask(
        batch_run,
        "grant_access",
        {"person": "Jonah Weiss", "system": "edge-proxy (admin)", "hours": 8},
        batch=batch,
        deadline=at(31),
        tier="T1",
    )
    paths["request-batch"] = f"/requests/{second.pk}/"

    unknown_run = run(mindra, "Double payment", "Pay back what was paid twice", status="streaming")
    unknown = ask(
        unknown_run,
        "refund",
        {"amount": 1250, "currency": "EUR", "order": "8841"},
        status="unknown",
        settled_at=at(-16),
        requested_at=at(-20),
        status_changed_at=at(-16),
    )
    made = decide(unknown, "approve", joon)
    Delivery.objects.create(
        kind="decision",
        run=unknown_run,
        decision=made,
        state="unknown",
        attempts=1,
        sent_at=at(-16.2),
        last_error="ReadTimeout: no answer within 15 s",
    )
    paths["request-unknown"] = f"/requests/{unknown.pk}/"

    held = ask(
        run(mindra, "Returns, week 46", "Refund"),
        "refund",
        {"amount": 310, "currency": "EUR", "order": "20877"},
        status="held",
    )
    decide(
        held,
        "reject",
        mara,
        reason="Wrong target. The parcel was not ours, ask the customer for a photo first.",
        leaves_at=at(5),
    )
    paths["request-held"] = f"/requests/{held.pk}/"

    elsewhere = ask(
        run(mindra, "Returns, week 45", "Refund"),
        "refund",
        {"amount": 89.5, "currency": "EUR", "order": "20811"},
        status="delivered",
        settled_at=at(-1),
    )
    made = decide(elsewhere, "approve", joon, edited='{"amount": 80, "currency": "EUR", "order": "20811"}')
    Delivery.objects.create(
        kind="decision",
        run=elsewhere.run,
        decision=made,
        state="delivered",
        attempts=1,
        sent_at=at(-0.8),
        finished_at=at(-0.7),
        evidence="200 from the provider",
        answer_status=200,
    )
    paths["request-frozen"] = f"/requests/{elsewhere.pk}/"

    play = SCENARIOS["odd-characters"].play(Random(4))
    step: Any = next(play)
    while type(step).__name__ != "Ask":
        step = next(play)
    odd = ask(
        run(mindra, "Forward a pasted message <b>now</b>\u202e", "Forward the message"),
        "forward_message",
        step.calls[0].text,
        message=step.calls[0].message,
        offers_edit=True,
    )
    paths["request-odd"] = f"/requests/{odd.pk}/"
    broken = ask(
        run(mindra, "Broken", "Broken"),
        "send_email",
        PAYLOADS["duplicate-keys"](),
        problem='the key "amount" comes twice',
    )
    paths["request-broken"] = f"/requests/{broken.pk}/"
    ask(
        run(agui, "New supplier", "Take the new supplier on"),
        "create_vendor",
        {
            "name": "Kestrel Optics",
            "registry": 4711,
            "bank_account": "DE12 5001 0517 1234 5678 00",
            "payment_terms_days": 30,
        },
        deadline=at(55),
        tier="T1",
    )
    run(
        mindra,
        "Payroll export",
        "Export the payroll of last month",
        status="failed",
        ended_at=at(-2),
        error="The ledger closed the connection before the export was complete.",
    )
    run(agui, "Stocktaking", "Compare the shelves with the books", status="truncated", ended_at=at(-30))
    run(agui, "Quarterly report", "Write the quarterly report", status="streaming", connected_at=at(-2))
    paths |= _requests(ask, decide, run, mindra, joon, mara)
    paths |= _runs(run, ask, mindra, agui)
    paths |= _proposals(run, ask)
    return {
        "inbox": "/",
        "decided": "/?tab=decided",
        "nothing-matches": "/?q=nothing+like+this",
        "runs": "/runs/",
        "streams": "/streams/",
        **paths,
        "edit": f"/requests/{refund.pk}/edit/",
        "exact": f"/requests/{refund.pk}/exact/",
        "event": f"/runs/{refund_run.pk}/events/1/",
        "everything": f"/requests/{odd.pk}/?parts=all",
        "not-found": "/nowhere/",
    }


def _requests(ask: Any, decide: Any, run: Any, mindra: Any, joon: Any, mara: Any) -> dict[str, str]:
    """One request in each status that the others do not show."""
    from approvals.models import Delivery
    from tests import factories

    def one(
        name: str, status: str, *, by: Any = mara, state: str = "", why: str = "", undone: str = "", **more: Any
    ) -> str:
        settled = None if status in ("pending", "held", "deciding") else at(-1)
        asked = ask(
            run(mindra, f"Returns: {name}", "Refund"), "refund", {"amount": 42.5, "currency": "EUR", "order": "20790"},
            status=status, settled_at=settled, status_changed_at=at(-1), ended_why=why, **more,
        )  # fmt: skip
        if state or undone:
            voided = {"undone_at": at(-0.5), "undone_why": undone} if undone else {}
            made = decide(asked, "approve", by, reason="Not needed" if undone else "", **voided)
            if state:
                Delivery.objects.create(
                    kind="decision", run=asked.run, decision=made, state=state, attempts=1,
                    answer_status=ANSWERS.get(state),
                    sent_at=at(-0.8) if state not in ("claimed", "parked") else None,
                    finished_at=at(-0.7) if state in ("delivered", "refused") else None,
                    answer="The approval is closed." if state == "refused" else "",
                    evidence="200 from the provider" if state == "delivered" else "",
                )  # fmt: skip
        return f"/requests/{asked.pk}/"

    older = ask(run(mindra, "Changed its mind", "Refund"), "refund", {"amount": 90, "currency": "EUR", "order": "7"},
                status="superseded", settled_at=at(-3), status_changed_at=at(-3))  # fmt: skip
    newer = factories.request(
        run=older.run, call_id=older.call_id, version=2, tool="refund", requested_at=at(-3),
        arguments='{"amount": 900, "currency": "EUR", "order": "7"}', alert="The arguments changed while it waited.",
    )  # fmt: skip
    return {
        "state-pending": one("pending", "pending", deadline=at(3.5)),
        "state-odd-deadline": one("odd deadline", "pending", deadline_text="tomorrow, noonish"),
        "state-deciding": one("deciding", "deciding", state="claimed"),
        "state-parked": one("parked", "deciding", state="parked"),
        "state-sent": one("sent", "sent", state="sent"),
        "state-delivered": one("delivered", "delivered", state="delivered"),
        "state-refused": one("refused", "refused_by_provider", state="refused"),
        "state-unknown": one("unknown", "unknown", state="unknown"),
        "state-expired": one("expired", "expired", deadline=at(-1)),
        "state-expired-held": one("expired while held", "expired", deadline=at(-1), undone="expired"),
        "state-withdrawn": one("withdrawn", "withdrawn"),
        "state-withdrawn-held": one("withdrawn while held", "withdrawn", by=joon, undone="withdrawn"),
        "state-answered-outside": one("answered outside", "withdrawn", why="Answered outside of Countersign."),
        "state-withdrawn-by": one("withdrawn by", "withdrawn", why="Withdrawn by joon: the order is cancelled"),
        "state-stale": one("stale", "stale", undone="stale"),
        "state-superseded": f"/requests/{older.pk}/",
        "state-new-version": f"/requests/{newer.pk}/",
        "inbox-frozen": f"/?open={older.pk}",
    }


ANSWERS = {"refused": 409, "delivered": 200}


def _runs(run: Any, ask: Any, mindra: Any, agui: Any) -> dict[str, str]:
    """One run in each status."""
    from streams.models import ENDED, RunStatus

    errors = {
        "failed": "The ledger closed the connection before the export was complete.",
        "lost": "No answer.",
    }
    made = {}
    for status in RunStatus.values:
        ended = {"ended_at": at(-2)} if status in ENDED else {}
        outcome = {"finished": "completed", "failed": "failed"}.get(status, "")
        connected = at(-5) if status == "streaming" else None
        row = run(
            mindra, f"A run that is {status}", "Look after the returns", status=status, outcome=outcome,
            connected_at=connected, error=errors.get(status, ""), **ended,
        )  # fmt: skip
        if status != "queued":
            events(
                row,
                [
                    ("house:connected", {"text": "Listening to the provider's stream."}),
                    *chunks("I begin with the oldest."),
                ],
            )
        if status in ("truncated", "lost"):
            events(row, [(f"house:{status}", {"text": "The stream ended and did not say how."})], start=-3)
        if status == "finished":
            events(row, [("done", {"status": "completed", "final_answer": "All returns are settled."})], start=-3)
        made[f"run-{status}"] = f"/runs/{row.pk}/"
    first = run(
        agui, "Goes on elsewhere", "Look after the returns", status="finished", outcome="continued", ended_at=at(-2)
    )
    second = run(agui, "Goes on elsewhere", "", status="streaming", connected_at=at(-2), continues=first)
    return made | {"run-continued": f"/runs/{first.pk}/", "run-continuing": f"/runs/{second.pk}/"}


def _proposals(run: Any, ask: Any) -> dict[str, str]:
    """Questions that are made of proposals, one of them read-only, and a run whose question a policy answered."""
    from streams.emulator.middesk_stories import cip_orchestrator, odd_findings
    from tests import factories

    address = "http://127.0.0.1:9/v1"
    on = factories.provider(name="checks", kind="middesk", base_url=address, options={"resume": {"enabled": True}})
    off = factories.provider(name="checks-read-only", kind="middesk", base_url=address)

    def value(story: Any) -> dict[str, Any]:
        step: Any = next(story)
        while type(step).__name__ != "Question":
            step = next(story)
        found: dict[str, Any] = step.interrupts[0].value
        return found

    combined = value(cip_orchestrator(Random(3), "b-1"))
    odd = value(odd_findings(Random(3), "b-2"))
    asked = ask(run(on, "Know your business", ""), "combined_proposal", combined, message=combined["label"])
    strange = ask(run(on, "Odd findings", ""), "odd_findings", odd, message=odd["label"])
    locked = ask(run(off, "Know your business", ""), "combined_proposal", combined, message=combined["label"])
    policy = run(on, "Address risk", "", status="finished", outcome="completed", ended_at=at(-1))
    finding = combined["proposals"][2]["artifacts"]
    steps: list[dict[str, Any]] = [
        {"id": "s1", "type": "activity", "label": "Finding the addresses", "status": "completed", "artifacts": []},
        {"id": "s2", "type": "interrupt", "label": "Add the address?", "status": "completed", "artifacts": finding,
         "result": {"resolution": "auto_approve"}},
        {"id": "s3", "type": "interrupt", "label": "Send the lease?", "status": "completed",
         "result": {"resolution": "skip"}},
    ]  # fmt: skip
    told = {"id": "r", "status": "completed", "steps": steps, "output": {"artifacts": finding}}
    begun = {"run_id": "r", "snapshot": {"status": "running", "steps": steps[:1]}}
    events(
        policy,
        [
            ("RUN_STARTED", {"run_id": "r"}),
            ("STATE_SNAPSHOT", begun),
            ("RUN_FINISHED", {"run_id": "r"}),
            ("read_back", told),
        ],
    )
    return {
        "proposals": f"/requests/{asked.pk}/",
        "proposals-odd": f"/requests/{strange.pk}/",
        "proposals-all": f"/requests/{strange.pk}/?parts=all",
        "read-only": f"/requests/{locked.pk}/",
        "inbox-proposals": f"/?open={asked.pk}",
        "inbox-read-only": f"/?open={locked.pk}",
        "run-policy": f"/runs/{policy.pk}/",
    }
