"""What a decision's fields must look like."""

import json

import pytest

from approvals import checks
from approvals.checks import Said
from approvals.models import ApprovalRequest

OPEN = {"offers_edit": True, "offers_answer": True}


def wrong(said: Said, *, undo_s: int = 0, **fields: object) -> str:
    found = checks.problem(ApprovalRequest(**{**OPEN, **fields}), said, undo_s=undo_s)
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Said("approve"), ""),
        (Said("reject", reason="r" * 4_000), ""),
        (Said("maybe"), "verdict"),
        (Said("reject", reason="r" * 4_001), "reason"),
        (Said("reject", reason="\x00"), "reason"),
        (Said("reject", reason="\ud800"), "reason"),
        (Said("approve", edited='{"a": 1}'), ""),
        (Said("reject", edited='{"a": 1}'), "edited_input"),
        (Said("approve", edited="[1]"), "edited_input"),
        (Said("approve", edited="{"), "edited_input"),
        (Said("approve", edited='{"a": NaN}'), "edited_input"),
        (Said("approve", edited='{"a": 1, "a": 2}'), "edited_input"),
        (Said("approve", edited='{"a": "\\u0000"}'), "edited_input"),
        (Said("approve", edited="[" * 100_000), "edited_input"),
        (Said("approve", edited=json.dumps({"a": "x" * 1024 * 1024})), "edited_input"),
        (Said("approve", answer='"yes"'), ""),
        (Said("reject", answer='"yes"'), "answer"),
        (Said("approve", answer="yes"), "answer"),
    ],
)
def test_a_wrong_field_is_named(said: Said, field: str) -> None:
    assert wrong(said) == field


@pytest.mark.parametrize("undo_s", [-1, 601])
def test_an_undo_window_has_bounds(undo_s: int) -> None:
    assert wrong(Said("approve"), undo_s=undo_s) == "undo_s"


def test_edits_and_answers_need_an_offer() -> None:
    assert wrong(Said("approve", edited="{}"), offers_edit=False) == "edited_input"
    assert wrong(Said("approve", answer="1"), offers_answer=False) == "answer"


def test_a_request_with_a_problem_can_only_be_rejected() -> None:
    assert wrong(Said("approve"), problem="not JSON") == "verdict"
    assert wrong(Said("reject"), problem="not JSON") == ""


def test_a_request_whose_id_was_not_kept_cannot_be_answered_at_all() -> None:
    assert wrong(Said("reject"), answerable=False) == "verdict"


def test_an_answer_fits_the_agents_schema() -> None:
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    assert wrong(Said("approve", answer='{"n": 1}'), answer_schema=schema) == ""
    assert wrong(Said("approve", answer='{"n": "1"}'), answer_schema=schema) == "answer"
    assert wrong(Said("approve", answer="{}"), answer_schema=schema) == "answer"


@pytest.mark.parametrize(
    "schema",
    [
        "not JSON",
        "true",
        '{"type": 5}',
        '{"$ref": "http://127.0.0.1:9/never"}',
        '{"$ref": "#"}',
        '{"pattern": "^(a+)+$"}',
        '{"patternProperties": {"^(a+)+$": {"type": "integer"}}}',
        '{"enum": [' + "1," * 40_000 + "1]}",
    ],
)
def test_a_schema_that_is_broken_remote_endless_or_huge_forbids_nothing(schema: str) -> None:
    assert checks.schema_problem(schema, "a" * 40 + "!") == ""
