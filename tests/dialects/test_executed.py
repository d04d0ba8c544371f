"""What ran is held against what was approved, as the stream of the answering run shows it."""

import json

import pytest
from django.test import Client

from approvals import audit
from approvals.decisions import decide
from approvals.models import ApprovalRequest, AuditEntry, Ran
from dashboard import slip, words
from dashboard.models import User
from streams.models import Event, Run
from tests.dialects import pauses

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
OTHER = '{"to": "eve@shop.example", "cents": 1200}'
EDITED = '{"to": "bo@shop.example", "cents": 900}'


@pytest.fixture
def ada() -> User:
    return pauses.reviewer(is_superuser=True, is_staff=True)


def asked_by_langgraph(name: str = "hitl-01-run1-email") -> ApprovalRequest:
    """A question as a real server asked it."""
    run = pauses.opened()
    pauses.play(run, pauses.tape(f"langgraph/{name}", run))
    (asked,) = pauses.of(run)
    return asked


def per_call() -> ApprovalRequest:
    (asked,) = pauses.asks_with(pauses.opened(), pauses.per_call("approve", "edit", "reject"), calls=pauses.mail())
    return asked


def fresh(asked: ApprovalRequest) -> ApprovalRequest:
    asked.refresh_from_db()
    return asked


def alerts(run: Run) -> list[str]:
    rows = Event.objects.filter(run=run, source="house", kind="other_arguments").values_list("payload", flat=True)
    return [json.loads(payload)["text"] for payload in rows]


# --- as real servers told it ---


@pytest.mark.parametrize("prefix", ["hitl-", "percall-"])
def test_a_real_server_that_runs_what_was_approved_is_believed(prefix: str, ada: User) -> None:
    asked = asked_by_langgraph(f"{prefix}01-run1-email")
    run, call = pauses.answered(asked, ada)
    pauses.play(run, pauses.tape(f"langgraph/{prefix}02-approve", run), call)
    assert (fresh(asked).ran, asked.status, asked.ran_arguments, alerts(run)) == (
        Ran.AS_APPROVED,
        "delivered",
        "",
        [],
    )


@pytest.mark.parametrize("prefix", ["hitl-", "percall-"])
def test_a_real_server_that_runs_the_changed_arguments_is_believed(prefix: str, ada: User) -> None:
    asked = asked_by_langgraph(f"{prefix}01-run1-email")
    changed = {"to": "boss@example.com", "subject": "EDITED subject", "body": "edited by a human"}
    run, call = pauses.answered(asked, ada, edited=json.dumps(changed))
    pauses.play(run, pauses.tape(f"langgraph/{prefix}09-approve-with-edited-args", run, asked.tool_call_id), call)
    assert (fresh(asked).ran, alerts(run)) == (Ran.AS_APPROVED, [])


def test_the_recorded_run_of_other_arguments_is_an_alert(ada: User) -> None:
    """The bytes of an exchange in which the arguments were changed, behind an approval that changed nothing."""
    asked = asked_by_langgraph()
    run, call = pauses.answered(asked, ada)
    pauses.play(run, pauses.tape("langgraph/hitl-09-approve-with-edited-args", run, asked.tool_call_id), call)
    assert (fresh(asked).ran, asked.status) == (Ran.OTHERWISE, "delivered")
    assert json.loads(asked.ran_arguments)["to"] == "boss@example.com"
    assert len(alerts(run)) == 1
    entry = AuditEntry.objects.get(action="request.ran_otherwise")
    assert entry.target == f"request:{asked.pk}"
    assert json.loads(entry.data)["run"] == str(run.pk)
    assert audit.verify().bad is None


# --- edges ---


@pytest.mark.parametrize(
    ("edited", "ran", "expected"),
    [
        ("", pauses.ARGUMENTS, Ran.AS_APPROVED),
        ("", '{"cents": 1200.0, "to":"ana@shop.example"}', Ran.AS_APPROVED),  # another spelling of the same
        ("", OTHER, Ran.OTHERWISE),
        (EDITED, EDITED, Ran.AS_APPROVED),
        (EDITED, pauses.ARGUMENTS, Ran.OTHERWISE),  # the change was ignored
        (EDITED, OTHER, Ran.OTHERWISE),
        ("", '{"to": "ana@shop.example"}', Ran.OTHERWISE),
        ("", "{}", Ran.OTHERWISE),
        ("", '{"to": "ana@sh', Ran.NOT_SHOWN),  # a piece is missing: nobody can say what it ran with
    ],
)
def test_what_ran_is_compared_by_what_it_means(edited: str, ran: str, expected: str, ada: User) -> None:
    asked = per_call()
    run, call = pauses.answered(asked, ada, edited=edited)
    frames = [pauses.begins(run), *pauses.mail(arguments=ran), pauses.result(), pauses.ends(run)]
    pauses.play(run, frames, call)
    assert (fresh(asked).ran, len(alerts(run))) == (expected, int(expected == Ran.OTHERWISE))
    if expected == Ran.OTHERWISE:
        assert asked.ran_arguments == ran
        assert ("without the changes" in alerts(run)[0]) == (bool(edited) and ran == pauses.ARGUMENTS)


def test_told_once_more_it_is_one_alert_on_the_request(ada: User) -> None:
    asked = per_call()
    run, call = pauses.answered(asked, ada)
    once = [*pauses.mail(arguments=OTHER), pauses.result()]
    pauses.play(run, [pauses.begins(run), *once, *pauses.mail("tc-9", OTHER), pauses.result("tc-9")], call)
    assert (fresh(asked).ran, len(alerts(run))) == (Ran.OTHERWISE, 1)
    assert asked.ran_seq == Event.objects.get(run=run, kind="TOOL_CALL_RESULT", payload__contains='"tc-4"').seq


def test_calls_that_nobody_was_asked_about_are_no_alert(ada: User) -> None:
    asked = per_call()
    run, call = pauses.answered(asked, ada)
    other = [*pauses.called("tc-8", "look_up", '{"a": 1}'), pauses.result("tc-8")]
    pauses.play(run, [pauses.begins(run), *other, *pauses.mail(), pauses.result(), pauses.ends(run)], call)
    assert (fresh(asked).ran, alerts(run)) == (Ran.AS_APPROVED, [])


def test_a_refused_call_is_held_against_nothing(ada: User) -> None:
    asked = per_call()
    run, call = pauses.answered(asked, ada, verdict="reject")
    pauses.play(run, [pauses.begins(run), *pauses.mail(arguments=OTHER), pauses.result(), pauses.ends(run)], call)
    assert (fresh(asked).ran, alerts(run)) == (Ran.NOT_SHOWN, [])


def test_a_question_that_names_no_call_is_about_the_next_one_of_its_tool(ada: User) -> None:
    run = pauses.opened()
    (asked,) = pauses.asks_with(run, pauses.langgraph("send_email"))
    assert asked.tool_call_id == ""
    answering, call = pauses.answered(asked, ada)
    later = [*pauses.mail("tc-6", OTHER), pauses.result("tc-6")]  # not asked about any more
    frames = [*pauses.mail("tc-5", asked.arguments), pauses.result("tc-5"), *later]
    pauses.play(answering, [pauses.begins(answering), *frames, pauses.ends(answering)], call)
    assert (fresh(asked).ran, alerts(answering)) == (Ran.AS_APPROVED, [])


def test_of_two_calls_each_is_held_against_its_own_approval(ada: User) -> None:
    run = pauses.opened()
    first, second = pauses.asks_with(run, pauses.langgraph("send_email", "pay"))
    decide(first.pk, verdict="approve", by=ada, seen_sha256=first.input_sha256)
    answering, call = pauses.answered(second, ada)
    frames = [
        *pauses.called("a", "send_email", first.arguments),
        pauses.result("a"),
        *pauses.called("b", "pay", first.arguments),
        pauses.result("b"),
    ]
    pauses.play(answering, [pauses.begins(answering), *frames, pauses.ends(answering)], call)
    assert (fresh(first).ran, fresh(second).ran) == (Ran.AS_APPROVED, Ran.OTHERWISE)


# --- where it is seen ---


def test_the_mark_is_on_request_run_and_admin_and_in_the_api(ada: User, client: Client) -> None:
    asked = per_call()
    run, call = pauses.answered(asked, ada)
    pauses.play(run, [pauses.begins(run), *pauses.mail(arguments=OTHER), pauses.result(), pauses.ends(run)], call)
    client.force_login(ada)
    made = slip.load(ada, asked.pk)
    assert (made.word, [change.name for change in made.ran_changes]) == (words.RAN_OTHERWISE, ["to"])
    page = client.get(f"/requests/{asked.pk}/").content.decode()
    assert "The agent ran other arguments than were approved" in page
    assert f"/runs/{run.pk}/events/{fresh(asked).ran_seq}/" in page
    for one in (run.pk, asked.run_id):
        assert "Ran other arguments than were approved" in client.get(f"/runs/{one}/").content.decode()
    assert "Ran other arguments" in client.get("/?tab=decided").content.decode()
    assert "ran with other arguments than were approved" in client.get("/admin/").content.decode()
    listed = client.get("/admin/approvals/approvalrequest/?attention=otherwise").content.decode()
    assert str(asked.pk) in listed
    assert "Ran other arguments" in listed
    row = client.get(f"/admin/approvals/approvalrequest/{asked.pk}/change/").content.decode()
    assert "Other arguments than were approved" in row
    record = client.get(f"/admin/streams/run/{run.pk}/change/").content.decode()
    assert "Ran other arguments at" in record
