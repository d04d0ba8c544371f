"""The campaign's rules find what they are there for: one planted fault each."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.e2e.ledger import Asked, Ledger, Made
from tests.e2e.rules import differing_lists, edited_sha256, lost_decisions, wrong_effects, wrong_ends, wrong_words
from tests.fifty_decisions import Session

YES = Made(verdict="approve", seen_sha256="aa", reason="why", edited="", live=True, why="", left=1)
ASKED = Asked("r1", "middesk", "run1", "ext1", "int1", 1, "delivered", "aa", (YES,))
EFFECT = {
    "kind": "middesk", "run": "ext1", "approval": "int1", "input_sha256": "aa",
    "approve": 1, "reject": 0, "executed": 1, "skipped": 0,
}  # fmt: skip


class Said:
    """What a session remembers of its own acts."""

    browser = None
    decided = {"r1": "approve"}
    reasons = {"r1": "why"}
    edits: dict[str, Any] = {}


SAID = cast(Session, Said())


def found(asked: Asked = ASKED, effect: dict[str, Any] = EFFECT, said: Session = SAID) -> list[str]:
    books = Ledger([asked])
    return wrong_effects(books, [effect]) + wrong_ends(books, [effect]) + wrong_words(said, books, [effect])


def decided(**changed: Any) -> Asked:
    return replace(ASKED, decisions=(replace(YES, **changed),))


def test_a_decision_with_its_one_effect_breaks_no_rule() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"executed": 2}, "acted 2 + 0 times"),
        ({"skipped": 1}, "acted 1 + 1 times"),
        ({"approve": 2}, "was told 2 times yes"),
        ({"reject": 1}, "was told yes and no"),
        ({"input_sha256": "bb"}, "without such a decision on these arguments"),
        ({"approval": "int2"}, "without such a decision on these arguments"),
        ({"executed": 0, "skipped": 1}, "reject took effect without such a decision"),
        ({"executed": 0}, "delivered, but took effect 0 times"),
        ({"executed_sha256": "cc"}, "did not run with the arguments that the decision gave"),
    ],
)
def test_an_effect_that_no_decision_explains_is_found(fault: dict[str, Any], said: str) -> None:
    assert [line for line in found(effect={**EFFECT, **fault}) if said in line]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (decided(left=0), "was told 1 times yes and 0 times no, by 0 decisions that left"),
        (decided(live=False, why="undone"), "a decision left although it was undone"),
        (decided(live=False, why="expired"), "without such a decision"),
        (decided(seen_sha256="bb"), "without such a decision"),
        (decided(reason="because"), "its reason is 'because', not 'why'"),
        (decided(edited='{"a": 1}'), "its edit is not the one that was given"),
        (replace(ASKED, status="refused_by_provider"), "decided and refused_by_provider, not delivered or unknown"),
        (replace(ASKED, status="stale"), "decided and stale"),
    ],
)
def test_a_decision_that_does_not_fit_its_effect_is_found(asked: Asked, said: str) -> None:
    assert [line for line in found(asked) if said in line]


def test_a_decision_that_was_confirmed_and_is_gone_or_another_one_is_found() -> None:
    assert lost_decisions({"r1": "approve"}, Ledger([ASKED])) == []
    assert lost_decisions({"r1": "reject"}, Ledger([ASKED])) == ["decision on r1 was confirmed and is gone"]
    assert lost_decisions({"r2": "approve"}, Ledger([ASKED])) != []
    assert lost_decisions({"r1": "approve"}, Ledger([decided(live=False)])) != []
    assert lost_decisions({"r1": ""}, Ledger([decided(live=False)])) == []
    assert lost_decisions({"r1": ""}, Ledger([ASKED])) != []


def test_an_edit_that_did_not_run_is_found() -> None:
    class Edited(Said):
        edits = {"r1": {"a": 1}}

    asked = decided(edited=json.dumps({"a": 1}))
    assert [line for line in found(asked, EFFECT, cast(Session, Edited())) if "did not run the edit" in line]
    ran = {**EFFECT, "executed_sha256": edited_sha256('{"a": 1}')}
    assert found(asked, ran, cast(Session, Edited())) == []


def test_a_list_that_is_not_the_databases_is_found() -> None:
    books, row = Ledger([ASKED]), {"id": "r1", "status": "delivered", "input_sha256": "aa"}
    assert differing_lists(books, [row]) == []
    assert differing_lists(books, []) != []
    assert differing_lists(books, [{**row, "status": "pending"}]) != []
    assert differing_lists(Ledger([]), [row]) != []


@pytest.mark.parametrize(("before", "wrong"), [("stale", False), ("superseded", True), ("unknown", True)])
def test_yes_and_no_are_told_of_one_question_only_where_the_first_was_not_taken(before: str, wrong: bool) -> None:
    no = replace(YES, verdict="reject")
    books = Ledger([replace(ASKED, id="r0", status=before), replace(ASKED, version=2, decisions=(no,))])
    effect = {**EFFECT, "reject": 1, "executed": 0, "skipped": 1}
    assert ("was told yes and no" in "".join(wrong_effects(books, [effect]))) == wrong
