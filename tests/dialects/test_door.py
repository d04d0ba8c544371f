"""What a dialect cannot carry is not offered, and refused at the door: by page, plain form and API, with its field."""

import json
from typing import Any

import pytest
from django.test import Client

from approvals.decisions import decide
from approvals.errors import InvalidDecision
from approvals.models import ApprovalRequest, Decision
from dashboard import tokens
from dashboard.models import User
from tests.dialects import pauses

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
CHOICE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object", "properties": {"cents": {"type": "integer"}}, "required": ["cents"]},
        "reason": {"type": "string", "maxLength": 20},
    },
    "required": ["approved"],
}


@pytest.fixture
def ada() -> User:
    return pauses.reviewer()


def one(*interrupts: dict[str, Any], dialect: str = "") -> ApprovalRequest:
    run = pauses.opened(pauses.server(dialect=dialect))
    return pauses.asks_with(run, *interrupts, calls=pauses.mail())[0]


def refused(asked: ApprovalRequest, by: User, verdict: str, **said: Any) -> tuple[str, str]:
    """Field and words of the refusal; two empty texts where it was taken."""
    try:
        decide(asked.pk, verdict=verdict, by=by, seen_sha256=asked.input_sha256, **said)
    except InvalidDecision as wrong:
        return wrong.field, wrong.detail
    return "", ""


# --- the door ---


@pytest.mark.parametrize(
    ("interrupt", "verdict", "said", "field", "words"),
    [
        (pauses.strands(), "approve", {"edited": "{}"}, "edited_input", "ignores changed arguments"),
        (pauses.adk(1), "approve", {"edited": "{}"}, "edited_input", "ignores changed arguments"),
        (pauses.framework(1), "reject", {"reason": "no"}, "reason", "refuses the answer"),
        (pauses.framework(1), "approve", {"reason": "no"}, "reason", "refuses the answer"),
        (pauses.crewai("ship it", "hold"), "reject", {}, "answer", "an answer that says no is needed"),
        (pauses.crewai("ship it", "hold"), "reject", {"answer": '"other"'}, "answer", "other"),
        (pauses.crewai("ship it", "hold"), "approve", {}, "answer", "an answer is needed"),
        (pauses.crewai("ship it", "hold"), "approve", {"answer": '"other"'}, "answer", "other"),
        (pauses.pydantic(responseSchema=CHOICE), "approve", {}, "answer", "an answer is needed"),
        (pauses.pydantic(responseSchema=SCHEMA), "approve", {"edited": '{"to": "a"}'}, "edited_input", "cents"),
        (pauses.pydantic(responseSchema=SCHEMA), "reject", {"reason": "x" * 21}, "reason", "does not take it"),
        (pauses.langgraph("pay", allows=["approve"]), "reject", {}, "verdict", "no refusal"),
        (pauses.langgraph("pay", allows=["approve"]), "approve", {"edited": "{}"}, "edited_input", "not take changes"),
        (pauses.langgraph("pay", allows=["reject"]), "approve", {}, "verdict", "no plain yes"),
        (
            pauses.pydantic(responseSchema={"type": "boolean", "const": True}), "reject", {}, "verdict", "no safe no",
        ),
    ],
)  # fmt: skip
def test_what_the_wire_cannot_say_is_refused_with_its_field(
    interrupt: dict[str, Any], verdict: str, said: dict[str, str], field: str, words: str, ada: User
) -> None:
    asked = one(interrupt)
    found = refused(asked, ada, verdict, **said)
    assert (found[0], words in found[1]) == (field, True), found
    assert (Decision.objects.count(), ApprovalRequest.objects.get(pk=asked.pk).status) == (0, "pending")


@pytest.mark.parametrize(
    ("interrupt", "verdict", "said"),
    [
        (pauses.strands(), "approve", {}),
        (pauses.strands(), "reject", {"reason": "kept here, not sent"}),
        (pauses.framework(1), "reject", {}),
        (pauses.crewai("ship it", "hold"), "approve", {"answer": '"hold"'}),
        (pauses.crewai("ship it", "hold"), "reject", {"answer": '"hold"'}),
        (pauses.crewai("approved", "rejected"), "reject", {}),
        (pauses.pydantic(responseSchema=CHOICE), "reject", {}),  # `cancelled` is known to run nothing here
        (pauses.pydantic(responseSchema=SCHEMA), "approve", {"edited": '{"cents": 5}'}),
        (pauses.langgraph("pay", allows=["approve"]), "approve", {}),
    ],
)
def test_what_the_door_takes_can_be_sent(
    interrupt: dict[str, Any], verdict: str, said: dict[str, str], ada: User
) -> None:
    run, call = pauses.answered(one(interrupt), ada, verdict, **said)
    assert str(run.external_id) in (call.body or b"").decode()
    assert "not sent" not in (call.body or b"").decode()


def test_calls_that_take_one_answer_are_one_question_so_that_no_verdicts_mix(ada: User) -> None:
    run = pauses.opened()
    (asked,) = pauses.asks_with(run, pauses.framework(1), pauses.framework(2, "delete_rows"))
    assert [call["tool"] for call in json.loads(asked.arguments)] == ["send_email", "delete_rows"]
    assert "approve all of them or none" in asked.limits
    assert refused(asked, ada, "approve", edited="{}")[0] == "edited_input"
    _, call = pauses.answered(asked, ada)
    resume = json.loads(call.body or b"")["resume"]
    assert [entry["payload"] for entry in resume] == [{"approved": True}, {"approved": True}]


def test_of_several_of_which_one_counts_none_can_be_approved_and_all_be_refused(ada: User) -> None:
    run = pauses.opened()
    both = pauses.asks_with(run, pauses.mastra(1), pauses.mastra(2))
    assert [refused(asked, ada, "approve") for asked in both] == [
        ("verdict", "it cannot be approved: of several answers this framework carries out only one")
    ] * 2
    assert refused(both[0], ada, "reject") == ("", "")
    _, call = pauses.answered(both[1], ada, "reject")
    assert [entry["payload"] for entry in json.loads(call.body or b"")["resume"]] == [{"approved": False}] * 2


# --- page, plain form, API ---


def posted(client: Client, asked: ApprovalRequest, *, htmx: bool, **said: str) -> tuple[int, str]:
    body = {"input_sha256": asked.input_sha256, **said}
    headers = {"HX-Request": "true"} if htmx else {}
    answer = client.post(f"/requests/{asked.pk}/decision/", body, headers=headers)
    return answer.status_code, answer.content.decode()


@pytest.mark.parametrize("htmx", [True, False], ids=["page", "plain form"])
@pytest.mark.parametrize(
    ("interrupt", "said", "words"),
    [
        (pauses.crewai("ship it", "hold"), {"verdict": "reject"}, "an answer that says no is needed"),
        (pauses.crewai("ship it", "hold"), {"verdict": "approve"}, "an answer is needed"),
        (pauses.strands(), {"verdict": "approve", "edited": '{"to": "b"}'}, "ignores changed arguments"),
        (pauses.framework(1), {"verdict": "reject", "reason": "no"}, "No reason can be given here"),
        (pauses.framework(1), {"verdict": "reject", "because": "Not needed"}, "No reason can be given here"),
    ],
)
def test_page_and_plain_form_say_why(
    interrupt: dict[str, Any], said: dict[str, str], words: str, htmx: bool, ada: User, client: Client
) -> None:
    client.force_login(ada)
    status, page = posted(client, one(interrupt), htmx=htmx, **said)
    assert (status, words.lower() in page.lower(), Decision.objects.count()) == (422, True, 0)


@pytest.mark.parametrize(
    ("interrupt", "said", "field"),
    [
        (pauses.crewai("ship it", "hold"), {"verdict": "reject"}, "answer"),
        (pauses.crewai("ship it", "hold"), {"verdict": "approve"}, "answer"),
        (pauses.strands(), {"verdict": "approve", "edited_input": {"to": "b"}}, "edited_input"),
        (pauses.framework(1), {"verdict": "reject", "reason": "no"}, "reason"),
    ],
)
def test_the_api_names_the_field(interrupt: dict[str, Any], said: dict[str, Any], field: str, client: Client) -> None:
    asked, headers = one(interrupt), bearer()
    body = {"input_sha256": asked.input_sha256, **said}
    path = f"/api/v1/approvals/{asked.pk}"
    answer = client.post(f"{path}/decision", body, content_type="application/json", headers=headers)
    assert (answer.status_code, [one["field"] for one in answer.json()["errors"]]) == (422, [field])


def bearer() -> dict[str, str]:
    by = pauses.reviewer(is_superuser=True)
    _, shown = tokens.create(name="t", user=by, scopes=["approvals:read", "approvals:decide"], actor="test", origin="")
    return {"Authorization": f"Bearer {shown}"}


def test_the_api_says_what_no_answer_can_say(client: Client) -> None:
    headers = bearer()

    def told(interrupt: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = client.get(f"/api/v1/approvals/{one(interrupt).pk}", headers=headers).json()
        return said

    said = told(pauses.strands())
    assert (said["dialect"], said["limits"]) == ({"name": "strands", "verified": True}, [])
    assert said["can"] == {"edit": False, "reason": False, "answer": False, "undo": False}
    assert "ignores changed arguments" in said["cannot"]["edit"]
    assert (said["cannot"]["reject"], said["cannot"]["approve"], said["needs_answer"]) == (None, None, False)
    said = told(pauses.crewai("ship it", "hold"))
    assert (said["cannot"]["reject"], said["needs_answer"]) == ("the question has no form for a no", True)
    said = told(pauses.framework(1))
    assert said["dialect"] == {"name": "agent-framework", "verified": True}
    assert (said["limits"], "refuses the answer" in said["cannot"]["reason"]) == ([], True)
    assert (said["ran"], said["ran_input_text"]) == (None, None)


# --- what is offered ---


def page_of(asked: ApprovalRequest, by: User, client: Client) -> str:
    client.force_login(by)
    return client.get(f"/requests/{asked.pk}/").content.decode()


def test_a_page_offers_no_words_where_words_spoil_the_answer(ada: User, client: Client) -> None:
    page = page_of(one(pauses.framework(1)), ada, client)
    assert "A reason is not passed on: this framework takes a reason for changed arguments" in page
    assert 'name="reason"' not in page
    assert 'name="because"' not in page
    assert "Unverified dialect" not in page


def test_a_page_keeps_a_note_where_the_agent_does_not_hear_it(ada: User, client: Client) -> None:
    page = page_of(one(pauses.adk(1)), ada, client)
    assert "A reason is not passed on: this framework takes yes or no, without words." in page
    assert "A note for the record" in page
    assert 'name="because"' not in page
    assert "Changes are not offered: this framework ignores changed arguments" in page
    assert 'id="to-edit"' not in page
    assert "Unverified dialect" not in page


def test_a_page_has_no_reject_where_no_safe_no_exists(ada: User, client: Client) -> None:
    page = page_of(one(pauses.pydantic(responseSchema={"type": "boolean", "const": True})), ada, client)
    assert 'value="reject"' not in page
    assert 'value="approve"' in page
    assert "Cannot be rejected, since no safe no can be sent" in page


def test_a_page_asks_for_the_words_of_a_no_where_only_the_agent_has_some(ada: User, client: Client) -> None:
    asked = one(pauses.crewai("ship it", "hold"))
    page = page_of(asked, ada, client)
    assert "Needed for a yes and for a no" in page
    assert ('value="reject"' in page, 'value="approve"' in page, "Cannot be rejected" in page) == (True, True, False)
    status, page = posted(client, asked, htmx=True, verdict="reject")
    assert (status, "nswer that says no is needed" in page) == (422, True)
    status, _ = posted(client, asked, htmx=True, verdict="reject", answer='"hold"')
    made = Decision.objects.get(request=asked)
    assert (status, made.verdict, made.answer) == (200, "reject", '"hold"')


def test_a_page_says_that_several_calls_take_one_answer(ada: User, client: Client) -> None:
    run = pauses.opened()
    (asked,) = pauses.asks_with(run, pauses.framework(1), pauses.framework(2))
    assert "approve all of them or none" in page_of(asked, ada, client)


def test_a_page_does_not_call_uninspectable_what_only_cannot_be_sent(ada: User, client: Client) -> None:
    run = pauses.opened()
    page = page_of(pauses.asks_with(run, pauses.mastra(1), pauses.mastra(2))[0], ada, client)
    assert "It cannot be approved from here" in page
    assert "Uninspectable" not in page


def test_a_page_of_a_framework_that_was_tried_says_nothing_of_it(ada: User, client: Client) -> None:
    page = page_of(one(pauses.pydantic(responseSchema=SCHEMA)), ada, client)
    assert "Unverified dialect" not in page
    assert 'id="carries"' not in page
    assert 'id="to-edit"' in page
    assert 'name="because"' in page
