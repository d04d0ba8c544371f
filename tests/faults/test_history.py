"""The rules that no fault in a running product breaks easily: a good history, and one change to it for each."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.ledger import Asked, Ledger, Made, Stored
from tests.faults.history import SEALED, Record, sha256, violations

TEXT = '{"to": "a@shop.example"}'
MADE = Made(verdict="approve", seen_sha256=sha256(TEXT), reason="", edited="", live=True, why="", left=1, id="d1")
ASKED = Asked("q1", "mindra", "r1", "x1", "a1", 1, "delivered", sha256(TEXT), (MADE,))
FRAMES = [("chunk", "one"), ("approval_request", "two"), ("done", "three")]
RECORD = Record(
    (
        {"t": "run", "kind": "mindra", "run": "x1"},
        {"t": "run", "kind": "agui", "run": "x2"},
        *({"t": "frame", "kind": "mindra", "run": "x1", "event": event, "data": data} for event, data in FRAMES),
        {"t": "asked", "kind": "mindra", "run": "x1", "approval": "a1", "text": TEXT},
        {"t": "received", "kind": "mindra", "run": "x1", "approval": "a1", "verdict": "approve"},
        {"t": "settled", "kind": "mindra", "run": "x1", "answers": [{"approval": "a1", "verdict": "approve"}]},
    )
)


def chain(*entries: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Audit rows of these actions and data, each sealed over the one before."""
    rows: list[dict[str, Any]] = []
    for seq, (action, data) in enumerate(entries, 1):
        row = dict.fromkeys(SEALED, "") | {
            "format": 1,
            "seq": seq,
            "action": action,
            "at": "2026-11-21T09:30:00.000001Z",
        }
        row |= {"previous": rows[-1]["hash"] if rows else "0" * 64, "data": json.dumps(data)}
        row["hash"] = sha256(json.dumps([row[name] for name in SEALED], separators=(",", ":")))
        rows.append(row)
    return rows


PROOF = {"decision": "d1", "verdict": "approve", "seen_sha256": sha256(TEXT)}
AUDIT = chain(("decision.made", PROOF), ("delivery.sent", {}))
DELIVERY = {
    "id": "v1", "decision": "d1", "batch": "", "state": "delivered", "attempts": 1, "evidence": "2xx",
    "sent_at": "2026-11-21T09:30:00.000000Z",
}  # fmt: skip
RUNS = [
    {"id": "r1", "kind": "mindra", "external_id": "x1", "status": "finished"},
    {"id": "r2", "kind": "agui", "external_id": "x2", "status": "finished"},
]
EVENTS = [Stored("r1", seq, "provider", event, sha256(data)) for seq, (event, data) in enumerate(FRAMES, 1)]
EVENTS += [Stored("r2", seq, "provider", kind, "") for seq, kind in enumerate(("RUN_STARTED", "RUN_FINISHED"), 1)]
GOOD = Ledger([ASKED], RUNS, [DELIVERY], EVENTS, AUDIT, (2, AUDIT[-1]["hash"]))

Change = Callable[[Ledger], Ledger]


def asked(**fields: Any) -> Change:
    return lambda books: replace(books, requests=[replace(ASKED, **fields)])


def delivery(**fields: Any) -> Change:
    return lambda books: replace(books, deliveries=[{**DELIVERY, **fields}])


def audited(number: int, **fields: Any) -> Change:
    rows = [row | fields if at == number else row for at, row in enumerate(AUDIT)]
    return lambda books: replace(books, audit=rows)


def events(*found: Stored) -> Change:
    return lambda books: replace(books, events=list(found))


def renumbered(*found: Stored) -> Change:
    return events(*(replace(one, seq=seq) for seq, one in enumerate(found, 1)), *EVENTS[3:])


CHANGES: list[tuple[Change, str]] = [
    (events(*EVENTS[:2], *EVENTS[3:]), "1 lost, from event 3 of 3"),
    (events(EVENTS[0], *EVENTS[2:]), "its numbers are not 1 to 2"),
    (renumbered(EVENTS[0], EVENTS[0], *EVENTS[1:3]), "1 doubled or invented, from event 2 of 3"),
    (renumbered(EVENTS[1], EVENTS[0], EVENTS[2]), "out of order, from event 1 of 3"),
    (renumbered(EVENTS[0], replace(EVENTS[1], sha256="no"), EVENTS[2]), "1 lost and 1 others in their place"),
    (events(*EVENTS, replace(EVENTS[3], seq=3)), "begins or ends more than once"),
    (events(*EVENTS, replace(EVENTS[3], seq=3, kind="TEXT_MESSAGE_START")), "events behind its end"),
    (lambda books: replace(books, requests=[]), "the agent asked, and there is no request"),
    (lambda books: replace(books, requests=[ASKED, replace(ASKED, id="q2")]), "2 rows of one version"),
    (asked(call_id="a2"), "nobody asked this"),
    (asked(input_sha256="0" * 64), "I6: "),
    (asked(decisions=(MADE, replace(MADE, id="d2"))), "I1: "),
    (asked(decisions=(replace(MADE, verdict="reject"),)), "I2: "),
    (asked(status="unknown"), "unknown, and what carried its answer is delivered"),
    (asked(status="expired"), "I9: "),
    (asked(deadline="2026-11-21T09:29:59.999999Z"), "behind its deadline"),
    (lambda books: replace(books, deliveries=[]), "nothing carries its decision"),
    (lambda books: replace(books, deliveries=[DELIVERY, {**DELIVERY, "id": "v2"}]), "more than one delivery"),
    (delivery(evidence=""), "delivered without evidence"),
    (delivery(state="unknown"), "delivered, and what carried its answer is unknown"),
    (audited(0, actor="somebody else"), "I10: audit entry 1 does not follow"),
    (audited(1, previous="0" * 64), "I10: audit entry 2 does not follow"),
    (lambda books: replace(books, audit=AUDIT[:1]), "the audit head is not the last entry"),
    (lambda books: replace(books, audit=AUDIT[1:]), "I2: "),
    (lambda books: replace(books, audit_head=(2, "0" * 64)), "the audit head is not the last entry"),
    (lambda books: replace(books, audit=chain(*[("decision.made", PROOF | {"decision": "d9"})] * 2)), "and it is gone"),
]


def test_a_good_history_breaks_no_rule() -> None:
    assert violations(RECORD, GOOD, confirmed={"q1": "approve"}) == []


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[said for _, said in CHANGES])
def test_a_changed_history_is_found(change: Change, said: str) -> None:
    found = violations(RECORD, change(GOOD))
    assert [one for one in found if said in one], found


def test_an_answer_that_never_came_and_one_that_came_twice_are_found() -> None:
    deaf = Record(tuple(line for line in RECORD.lines if line["t"] not in ("received", "settled")))
    assert [one for one in violations(deaf, GOOD) if "its agent never heard of it" in one]
    twice = Record((*RECORD.lines, *RECORD.lines[-2:]))
    assert [one for one in violations(twice, GOOD) if "acted 2 + 0 times" in one]
    assert [one for one in violations(twice, GOOD) if "was told 2 times yes" in one]
    assert violations(RECORD, GOOD, confirmed={"q1": ""}) != []


def test_runs_of_another_database_are_left_out() -> None:
    assert RECORD.without({("mindra", "x1")}).effects() == []
    assert RECORD.without(RECORD.runs()).lines == ()
