"""What a question proposes, unfolded for the page: nothing relied on, nothing dropped, nothing linked blindly."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.providers.base import Artifact, Citation, Part
from streams.providers.middesk.parts import ARTIFACTS_MAX, PARTS_MAX, artifact, citation, parts
from streams.providers.mindra import Mindra
from tests.streams.middesk_frames import middesk

FILING: dict[str, Any] = {
    "title": "Secretary of State filing",
    "type": "document",
    "confidence": "high",
    "summary": "Active since 2011",
    "sources": [{"url": "https://sos.example/1", "source_name": "SOS", "source_tier": "1", "source_type": "registry"}],
}
SHOWN = Artifact(
    "Secretary of State filing",
    "document",
    "high",
    "Active since 2011",
    (Citation("https://sos.example/1", "https://sos.example/1", "SOS", "1", "registry"),),
)


def test_a_plain_question_is_one_part_with_its_artifacts() -> None:
    value = {"agent": "watchlist_resolution", "label": "Dismiss this hit?", "artifacts": [FILING]}
    assert parts(value) == (Part("Dismiss this hit?", "watchlist_resolution", "", (SHOWN,)),)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_combined_proposal_unfolds_into_its_proposals(wrapped: bool) -> None:
    inner: list[dict[str, Any]] = [
        {"label": "Dismiss?", "artifacts": [FILING]},
        {"label": "Add source?", "type": "add_sources"},
    ]
    proposals: list[Any] = [{"agent": "a", "value": one} if wrapped else {"agent": "a", **one} for one in inner]
    found = parts({"type": "combined_proposal", "agent": "cip_orchestrator", "label": "Two", "proposals": proposals})
    assert found == (Part("Dismiss?", "a", "", (SHOWN,)), Part("Add source?", "a", "add_sources"))


def test_no_key_is_dropped() -> None:
    value: dict[str, Any] = {"proposals": [{"label": "x", "odd": 1}, "text", None], "note": "beside", "label": "l"}
    assert [part.rest for part in parts(value)] == ['{"note":"beside"}', '{"odd":1}', '"text"', "null"]
    value = {"proposals": [{"id": "i", "value": {"label": "x"}}], "artifacts": [FILING], "note": "beside"}
    around = Part("", artifacts=(SHOWN,), rest='{"note":"beside"}', around=True)
    assert parts(value) == (around, Part("x", rest='{"id":"i"}'))
    assert artifact({"title": 5, "id": "a-1"}) == Artifact("", rest='{"title":5,"id":"a-1"}')
    assert artifact("text") == Artifact("", rest='"text"')
    assert parts({"artifacts": "none", "label": 7})[0].rest == '{"artifacts":"none","label":7}'


@pytest.mark.parametrize(
    ("sent", "shown"), [("high", "high"), (0.87, "0.87"), (3, "3"), (None, ""), (True, ""), ({"a": 1}, "")]
)
def test_confidence_is_a_label_or_a_score(sent: Any, shown: str) -> None:
    assert artifact({"title": "t", "confidence": sent}).confidence == shown
    if sent is True or isinstance(sent, dict):
        assert "confidence" in artifact({"title": "t", "confidence": sent}).rest


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "//x.example",
        "ftp://x",
        "https://",
        "https://a@b.example",
        "http://[",
        "",
    ]
    + [
        "https://x.example/\n",
        "https://x.example/a b",
        "https://x.example/\u202egpj",
        "HTTP//x",
        "https://x\\y.example",
    ],
)
def test_only_plain_web_addresses_become_links(url: str) -> None:
    assert citation({"url": url}).link == ""
    assert citation({"url": url}).url == url


def test_more_than_a_page_can_show_is_counted() -> None:
    (one,) = parts({"artifacts": [FILING] * (ARTIFACTS_MAX + 7)})
    assert (len(one.artifacts), one.left_out) == (ARTIFACTS_MAX, 7)
    found = parts({"proposals": [{"label": "x"}] * (PARTS_MAX + 3)})
    assert (len(found), found[-1].left_out) == (PARTS_MAX + 1, 3)


def test_the_adapter_reads_parts_out_of_the_arguments_text() -> None:
    assert middesk.parts(json.dumps({"label": "x"})) == (Part("x"),)
    for broken in ("", "{", "[]", "5", '"x"', "[" * 50_000):
        assert middesk.parts(broken) == ()
    assert Mindra().parts('{"label":"x"}') == ()


def test_proposals_inside_proposals_do_not_go_on_for_ever() -> None:
    value: dict[str, Any] = {"label": "innermost"}
    for _ in range(900):
        value = {"proposals": [value, value]}
    assert len(parts(value)) <= PARTS_MAX + 1


KEYS = ["label", "agent", "type", "artifacts", "proposals", "value", "title", "confidence", "summary", "sources", "url"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.just("\ud800\0"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "odd"]), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_any_value_has_parts_that_can_be_shown(value: Any) -> None:
    for part in parts(value):
        told = [part.label, part.agent, part.kind, part.rest]
        for one in part.artifacts:
            told += [one.title, one.kind, one.confidence, one.summary, one.rest]
            told += [said for source in one.sources for said in (source.url, source.link, source.name, source.tier)]
        for said in told:
            assert "\0" not in said
            said.encode()


def test_what_a_proposals_wrapper_says_otherwise_than_the_proposal_is_told_too() -> None:
    inner = '{"label":"Pay","agent":"b","n":1}'
    (part,) = middesk.parts(f'{{"proposals":[{{"label":"Harmless","agent":"a","value":{inner}}}]}}')
    assert (part.label, part.agent) == ("Pay", "b")
    assert json.loads(part.rest) == {"n": 1, "wrapper": {"label": "Harmless", "agent": "a"}}
