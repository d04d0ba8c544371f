"""What else becomes of a question than one answer: another one after it, a run beside it, an end without any."""

import pytest

from tests.countersign import eventually
from tests.frameworks.cases import CASES, DELETION, EMAIL
from tests.frameworks.conftest import Peer

pytestmark = [
    pytest.mark.process,
    pytest.mark.frameworks,
    pytest.mark.long,
    pytest.mark.parametrize("peer", [case for case in CASES if case.chains], indirect=True, ids=lambda case: case.name),
]

WITHDRAW = """
from approvals import decisions
from dashboard.models import User
decisions.withdraw("{id}", by=User.objects.filter(is_superuser=True).first(), note="Nobody needs it any more.")
"""
EXPIRE = """
from datetime import timedelta
from django.utils import timezone
from approvals.models import ApprovalRequest
ApprovalRequest.objects.filter(pk="{id}").update(deadline=timezone.now() - timedelta(seconds=1))
"""


def test_one_call_after_the_other_is_asked_and_answered_in_turn(peer: Peer) -> None:
    run_id, (first,) = peer.asks("Send the e-mail, then delete the order")
    peer.approve(first)
    peer.on.becomes(first["id"], "delivered")
    found = eventually(
        lambda: [
            row for one in peer.on.chain(run_id) for row in peer.on.requests(one["id"]) if row["id"] != first["id"]
        ]
    )
    (second,) = found
    assert (second["tool_name"], second["tool_input"], second["status"]) == ("delete_records", DELETION, "pending")
    peer.approve(second)
    peer.on.becomes(second["id"], "delivered")
    assert peer.on.ended(run_id)["outcome"] == peer.case.outcome
    assert [call["arguments"] for call in peer.effects()] == [EMAIL, DELETION]


def test_large_arguments_run_as_they_were(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the letter")
    body = asked["tool_input"]["body"]
    assert body == "Žluťoučký kůň 🐎\n" * 10_000
    peer.approve(asked)
    peer.on.becomes(asked["id"], "delivered")
    peer.on.ended(run_id)
    assert [call["arguments"]["body"] for call in peer.effects()] == [body]


def test_two_runs_at_once_keep_their_answers_apart(peer: Peer) -> None:
    mail, order = peer.run("Send the e-mail"), peer.run("delete the order")
    ((first,), (second,)) = peer.on.asked(mail), peer.on.asked(order)
    peer.reject(first)
    peer.approve(second)
    for row in (first, second):
        peer.on.becomes(row["id"], "delivered")
    for run_id in (mail, order):
        peer.on.ended(run_id)
    assert [call["arguments"] for call in peer.effects()] == [DELETION]


def test_what_is_withdrawn_is_not_answered(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    peer.on.house.command("shell", "--no-imports", "-c", WITHDRAW.format(id=asked["id"]))
    peer.on.becomes(asked["id"], "withdrawn")
    assert peer.on.decide(asked, "approve").status_code == 409
    assert peer.on.run(run_id)["status"] == "waiting"
    assert (peer.effects(), peer.posts()) == ([], peer.case.posts_to_start)


def test_what_expires_does_not_run(peer: Peer) -> None:
    """On AG-UI the thread is freed, with a no; elsewhere nobody says anything."""
    run_id, (asked,) = peer.asks("Send the e-mail")
    peer.on.house.command("shell", "--no-imports", "-c", EXPIRE.format(id=asked["id"]))
    peer.on.becomes(asked["id"], "expired")
    assert peer.on.decide(asked, "approve").status_code == 409
    if peer.case.kind == "agui":
        assert peer.on.ended(run_id)["outcome"] == peer.case.outcome
    assert (peer.effects(), peer.posts()) == ([], peer.case.posts_to_start + (peer.case.kind == "agui"))
