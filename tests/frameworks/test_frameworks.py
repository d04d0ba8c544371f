"""What each framework's own tools count is what people decided: once, exactly, or not at all."""

import pytest

from tests.countersign import eventually
from tests.frameworks.cases import DELETION, EMAIL
from tests.frameworks.conftest import Peer

pytestmark = [pytest.mark.process, pytest.mark.frameworks]

EDITED = {"to": "bo@shop.example", "subject": "Ünïcode 🤖", "body": 'line\nline\t"quoted" \\ </script>'}
SENT = {"tool": "send_email", "arguments": EMAIL}
DELETED = {"tool": "delete_records", "arguments": DELETION}


@pytest.mark.long
def test_a_run_that_needs_nobody_ends_by_itself(peer: Peer) -> None:
    run_id = peer.run("Say hello")
    row = peer.on.ended(run_id)
    assert (row["outcome"], row["continued_by"]) == (peer.case.outcome, None)
    assert peer.on.requests(run_id) == []
    assert (peer.effects(), peer.posts()) == ([], peer.case.posts_to_start)


def test_the_pause_is_known_and_shown_whole(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    assert (asked["tool_name"], asked["tool_input"]) == (peer.case.tool, peer.case.shown)
    assert (asked["can"]["edit"], asked["can"]["reason"]) == (peer.case.edit, peer.case.reason)
    if peer.case.dialect:
        assert asked["dialect"]["name"] == peer.case.dialect
    assert peer.on.run(run_id)["status"] == "waiting"
    assert (peer.effects(), peer.posts()) == ([], peer.case.posts_to_start)
    peer.reject(asked)
    peer.on.becomes(asked["id"], "delivered")


def test_an_approved_call_runs_once_with_what_was_shown(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    peer.approve(asked)
    late = [peer.on.decide(asked, verdict) for verdict in ("approve", "reject")]
    assert [(answer.status_code, answer.json()["code"]) for answer in late] == [(409, "already_decided")] * 2
    row = peer.on.becomes(asked["id"], "delivered", "unknown")
    assert (row["status"], row["delivery"]["attempts"]) == ("delivered", 1), row
    assert peer.on.ended(run_id)["outcome"] == peer.case.outcome
    assert peer.effects() == [SENT]
    assert peer.posts() == peer.case.posts_to_start + 1
    assert peer.on.request(asked["id"])["ran"] in ("as_approved", None)


def test_a_rejected_call_never_runs(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    said = {} if peer.case.turns_reasons_away else {"reason": "Not to Ana, and not today."}
    if not said:
        refused = peer.on.decide(asked, "reject", reason="Not today.")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "reason")
    peer.reject(asked, **said)
    row = peer.on.becomes(asked["id"], "delivered", "unknown")
    assert row["status"] == "delivered", row
    assert peer.on.ended(run_id)["outcome"] == peer.case.outcome
    assert peer.effects() == []
    told = str(peer.told()[-1])
    assert ("not today" in told) == peer.case.reason


def test_changed_arguments_run_exactly_or_are_not_offered(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    if not peer.case.edit:
        refused = peer.on.decide(asked, "approve", edited_input=EDITED, **peer.case.says(peer.case.answer))
        assert refused.status_code == 422, refused.text
        assert asked["cannot"]["edit"]
        peer.reject(asked)
        peer.on.becomes(asked["id"], "delivered")
        assert peer.effects() == []
        return
    peer.approve(asked, edited_input=EDITED)
    peer.on.becomes(asked["id"], "delivered")
    peer.on.ended(run_id)
    assert peer.effects() == [{"tool": "send_email", "arguments": EDITED}]


@pytest.mark.parametrize(
    "verdicts",
    ["yes no", *[pytest.param(verdicts, marks=pytest.mark.long) for verdicts in ("yes yes", "no yes", "no no")]],
)
def test_two_calls_of_one_turn(peer: Peer, verdicts: str) -> None:
    several = peer.case.several
    if several == "single":
        pytest.skip("it asks for one call at a time by design")
    first_says, second_says = verdicts.split()
    run_id = peer.run("Send the e-mail and delete the order")
    if several == "turns":
        for says in (first_says, second_says):
            (asked,) = peer.on.asked(peer.on.chain(run_id)[-1]["id"])
            (peer.approve if says == "yes" else peer.reject)(asked)
            peer.on.becomes(asked["id"], "delivered")
    elif several == "bundle":
        (asked,) = peer.on.asked(run_id)
        (peer.approve if verdicts == "yes yes" else peer.reject)(asked)
        peer.on.becomes(asked["id"], "delivered")
    else:
        asked = {row["tool_name"]: row for row in peer.on.asked(run_id, 2)}
        if several == "none":
            assert all(row["cannot"]["approve"] for row in asked.values())
            first_says = second_says = "no"
        for row, says in ((asked["send_email"], first_says), (asked["delete_records"], second_says)):
            (peer.approve if says == "yes" else peer.reject)(row)
        for row in asked.values():
            peer.on.becomes(row["id"], "delivered")
    assert peer.on.ended(run_id)["outcome"] == peer.case.outcome
    wanted = [call for call, says in ((SENT, first_says), (DELETED, second_says)) if says == "yes"]
    if several == "bundle" and verdicts != "yes yes":
        wanted = []
    assert sorted(peer.effects(), key=str) == sorted(wanted, key=str)


@pytest.mark.long
def test_a_kill_right_after_the_decision_never_runs_the_tool_twice(peer: Peer) -> None:
    runs = [peer.asks("Send the e-mail") for _ in range(3)]
    for _, (asked,) in runs:
        peer.approve(asked)
    peer.on.house.kill()
    peer.on.restart()
    statuses = [peer.on.becomes(asked["id"], "delivered", "unknown")["status"] for _, (asked,) in runs]
    assert statuses.count("delivered") <= len(peer.effects()) <= peer.posts() - 3 * peer.case.posts_to_start <= 3


@pytest.mark.long
def test_the_account_is_pinned_to_what_it_was_found_to_be(peer: Peer) -> None:
    _, (asked,) = peer.asks("Send the e-mail")
    if peer.case.kind == "agui":
        eventually(lambda: peer.account()["dialect"] == (peer.case.pin or peer.case.family or peer.case.dialect))
    peer.reject(asked)
    peer.on.becomes(asked["id"], "delivered")
