"""A question made of proposals: part by part, nothing dropped, long texts on demand, links only where they are safe."""

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from approvals.models import ApprovalRequest
from dashboard import proposals, reading
from dashboard.models import User
from tests import factories

HIT = {
    "title": "Not the listed person",
    "type": "watchlist_comparison",
    "confidence": "high",
    "summary": "Born in another year.",
    "sources": [{"url": "https://sanctions.example/list", "source_name": "List", "source_tier": "primary"}],
}
COMBINED: dict[str, Any] = {
    "type": "combined_proposal",
    "agent": "orchestrator",
    "label": "Apply both?",
    "proposals": [
        {
            "agent": "watchlist",
            "label": "Dismiss the hit?",
            "artifacts": [HIT],
            "proposed_action": {"type": "dismissal"},
        },
        {"agent": "address", "label": "Add the address?", "artifacts": []},
    ],
}


def read(value: Any) -> proposals.Proposals:
    return proposals.read("middesk", json.dumps(value))


def test_each_proposal_is_a_part_with_its_agent_its_findings_and_the_rest_as_json() -> None:
    found = read(COMBINED)
    assert [(part.label.head, part.agent) for part in found.parts] == [
        ("Dismiss the hit?", "watchlist"),
        ("Add the address?", "address"),
    ]
    [finding] = found.parts[0].findings
    assert (finding.title, finding.kind, finding.confidence) == (
        "Not the listed person",
        "watchlist_comparison",
        "high",
    )
    assert finding.summary.head == "Born in another year."
    assert json.loads(found.parts[0].rest.head) == {"proposed_action": {"type": "dismissal"}}
    assert not found.cut


def test_other_providers_have_none_and_an_unknown_one_neither() -> None:
    assert not proposals.read("mindra", json.dumps(COMBINED))
    assert not proposals.read("nobody", json.dumps(COMBINED))
    assert not proposals.read("middesk", "[]")


def test_a_long_text_keeps_its_rest_for_who_asks() -> None:
    text = "a" * (proposals.SAID_MAX + 300)
    said = read({"label": text, "artifacts": []}).parts[0].label
    assert (len(said.head), said.length) == (proposals.SAID_MAX, 300)
    assert said.head + said.more == text


def test_a_page_full_of_findings_says_how_many_are_missing() -> None:
    many = [{**HIT, "sources": [HIT["sources"][0]] * 10}] * 90
    value = {**COMBINED, "proposals": [{"label": str(n), "artifacts": many} for n in range(3)]}
    found = read(value)
    shown = [finding for part in found.parts for finding in (*part.findings, *part.more_findings)]
    assert len(shown) == proposals.PAGE_FINDINGS
    assert sum(part.left_out for part in found.parts) == 3 * 90 - proposals.PAGE_FINDINGS
    assert sum(len(one.sources) + len(one.more_sources) for one in shown) == proposals.PAGE_SOURCES
    assert found.cut


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (COMBINED, "A yes lets orchestrator act on 2 proposals. One answer covers all of them."),
        ({"label": "?", "artifacts": [HIT], "agent": "w"}, "A yes lets w act on what it concludes from 1 finding."),
        ({"label": "?", "artifacts": []}, "A yes lets the_tool act on what it proposes."),
    ],
)
def test_our_own_sentence_counts_and_promises_nothing(value: Any, sentence: str) -> None:
    made = reading.read("the_tool", json.dumps(value))
    assert made.text == sentence
    assert "not known to this system" in made.reversal


def test_a_call_that_we_can_read_is_not_passed_off_as_a_question() -> None:
    mail = {"to": "a@x.example", "subject": "s", "body": "b", "label": "harmless", "artifacts": [], "proposals": [{}]}
    assert reading.read("send_email", json.dumps(mail)).kind == "mail"


# --- on the page ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ada(client: Client) -> User:
    user = factories.user(username="ada")
    user.groups.add(Group.objects.get(name="Reviewer"))
    client.force_login(user)
    return user


def asked(value: Any, **options: Any) -> ApprovalRequest:
    provider = factories.provider(kind="middesk", options=options)
    return factories.request(
        run=factories.run(provider=provider), tool="combined_proposal", arguments=json.dumps(value, ensure_ascii=False)
    )


class Links(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


ON: dict[str, Any] = {"resume": {"enabled": True}}


@pytest.mark.django_db
def test_the_page_shows_every_part_says_that_one_answer_covers_them_and_keeps_the_exact_text(
    client: Client, ada: User
) -> None:
    made = asked(COMBINED, **ON)
    html = client.get(f"/requests/{made.pk}/").content.decode()
    assert "One answer covers all parts." in html
    assert "Part 1 of 2" in html
    for said in ("Dismiss the hit?", "Add the address?", "watchlist_comparison", "Born in another year.", "dismissal"):
        assert said in html
    assert f"/requests/{made.pk}/exact/" in html
    assert f'value="{made.input_sha256}"' in html
    assert 'name="verdict" value="approve"' in html


@pytest.mark.django_db
def test_only_a_plain_address_becomes_a_link_and_it_tells_nobody_where_it_comes_from(client: Client, ada: User) -> None:
    urls = [
        "https://ok.example/a?b=<c>",
        "javascript:alert(1)",
        "https://user@evil.example",
        "https://a\u202eb.example",
    ]
    hit = {**HIT, "sources": [{"url": url} for url in urls], "title": "<img src=x>\u200b"}
    made = asked({"label": "?", "artifacts": [hit]}, **ON)
    html = client.get(f"/requests/{made.pk}/").content.decode()
    outside = [link for link in Links(html).found if link.get("rel")]
    assert [link["href"] for link in outside] == [urls[0]]
    assert {"noopener", "noreferrer", "nofollow"} <= set((outside[0]["rel"] or "").split())
    assert "<img" not in html
    assert "\u202e" not in html
    assert "\u200b" not in html
    assert "javascript:alert(1)" in html, "shown as text"


@pytest.mark.django_db
def test_where_nothing_can_be_decided_the_stub_says_where_to_go(client: Client, ada: User) -> None:
    made = asked(COMBINED)
    for path in (f"/requests/{made.pk}/", f"/?open={made.pk}"):
        html = client.get(path).content.decode()
        assert "Decide in Middesk; this page is read-only." in html
        assert 'name="verdict"' not in html
        assert 'id="to-edit"' not in html
    answer = client.post(f"/requests/{made.pk}/decision/", {"verdict": "approve", "input_sha256": made.input_sha256})
    assert answer.status_code == 403
    made.refresh_from_db()
    assert made.status == "pending"
