"""The dialects' table: recognised by shape, pinned by name, plain 1.0 otherwise."""

from typing import Any

import pytest

from streams import dialects
from tests.frameworks.cases import CASES

INTERRUPTS: dict[str, dict[str, Any]] = {
    "pydantic-ai": {"id": "int-call_1", "toolCallId": "call_1", "reason": "tool_call"},
    "agent-framework": {"id": "af-call-1", "metadata": {"agent_framework": {}}},
    "langgraph": {"id": "0" * 32, "metadata": {"langgraph": {"raw": {}}}},
    "strands": {"id": "v1:before_tool_call:x:y"},
    "adk": {"id": "adk-1", "metadata": {"adk": {}}},
    "crewai": {"id": "thread-1", "metadata": {"crewai": {}}},
    "mastra": {"id": "run::call", "metadata": {"mastra": {}}},
}


@pytest.mark.parametrize(("name", "interrupt"), INTERRUPTS.items(), ids=INTERRUPTS)
def test_a_dialect_is_recognised_by_the_shape_of_its_interrupts(name: str, interrupt: dict[str, Any]) -> None:
    assert dialects.of(interrupt).name == name


@pytest.mark.parametrize(
    "interrupt",
    [{}, {"id": "ask-1", "reason": "r"}, {"id": 5, "metadata": 5}, {"metadata": {"other": 1}}, {"id": "int-x"}],
)
def test_every_other_shape_is_plain(interrupt: dict[str, Any]) -> None:
    assert dialects.of(interrupt) is dialects.PLAIN


def test_a_pinned_dialect_wins_and_an_unknown_name_pins_nothing() -> None:
    assert dialects.of(INTERRUPTS["mastra"], "plain") is dialects.PLAIN
    assert dialects.of(INTERRUPTS["mastra"], "nonsense").name == "mastra"


def test_a_pin_names_a_framework_and_the_shape_its_variant() -> None:
    hitl = {"id": "0" * 32, "metadata": {"langgraph": {"raw": {"action_requests": []}}}}
    per_call = {"id": "0" * 32, "metadata": {"langgraph": {"raw": {"type": "tool_approval"}}}}
    assert dialects.of(hitl).name == dialects.of(hitl, "langgraph").name == "langgraph-hitl"
    assert dialects.of(per_call, "langgraph").name == "langgraph-percall"
    assert dialects.of({"id": "x"}, "langgraph").name == "langgraph"
    assert dialects.of(INTERRUPTS["pydantic-ai"], "pydantic-ai-server").name == "pydantic-ai-server"


@pytest.mark.parametrize(("name", "interrupt"), INTERRUPTS.items(), ids=INTERRUPTS)
def test_a_shape_that_is_not_the_pinned_frameworks_is_told(name: str, interrupt: dict[str, Any]) -> None:
    for pinned in dialects.DIALECTS:
        framework = dialects.DIALECTS[pinned].framework
        told = dialects.clash(interrupt, pinned)
        assert bool(told) == (pinned != "plain" and framework != dialects.recognised(interrupt).framework)  # type: ignore[union-attr]
    assert dialects.clash(interrupt, "") == dialects.clash({"id": "anything"}, name) == ""


def test_a_pinned_variant_is_not_another_one() -> None:
    hitl = {"id": "0" * 32, "metadata": {"langgraph": {"raw": {"action_requests": []}}}}
    assert dialects.clash(hitl, "langgraph-percall") == "langgraph-hitl"


def test_no_account_can_name_a_draft() -> None:
    assert not {name for name in dialects.DIALECTS if name.startswith("draft")}
    assert dialects.named("draft-answer").own_answer


def test_verified_are_those_that_real_servers_were_tried_with() -> None:
    verified = {dialect.name for dialect in dialects.DIALECTS.values() if dialect.verified}
    recorded = {"pydantic-ai", "agent-framework", "langgraph", "langgraph-hitl", "langgraph-percall"}
    assert verified == {"plain", *recorded, *(case.dialect for case in CASES if case.kind == "agui")}


@pytest.mark.parametrize("name", dialects.DIALECTS)
def test_what_a_dialect_cannot_carry_is_said_in_sentences(name: str) -> None:
    dialect, said = dialects.DIALECTS[name], dialects.limits(name)
    assert all(one[0].isupper() and one.endswith(".") for one in said)
    assert any("has not been tried" in one for one in said) != dialect.verified
    assert any("Changes are not offered" in one for one in said) != dialect.edit
    assert any("A reason is not passed on" in one for one in said) != dialect.reason


def test_an_unrecognised_framework_is_marked_as_unverified() -> None:
    assert "unverified" in dialects.limits("")[0]
    assert dialects.limits("plain") == ()


def test_a_framework_is_the_head_of_its_variants() -> None:
    for dialect in dialects.DIALECTS.values():
        head = dialects.DIALECTS[dialect.framework]
        assert head.family == ""
        assert len(dialect.name) <= 40  # the account's column


def test_cancelled_is_a_safe_no_only_where_it_was_seen_to_run_nothing() -> None:
    safe = {dialect.name for dialect in dialects.DIALECTS.values() if dialect.cancelled_is_safe}
    assert safe == {"plain", "pydantic-ai", "pydantic-ai-server", "strands", "adk", "adk-arguments", "adk-payload"}


@pytest.mark.parametrize("name", ["strands", "strands-native", "adk", "crewai", "agno"])
def test_servers_that_ignore_edits_are_offered_none(name: str) -> None:
    assert not dialects.DIALECTS[name].edit


@pytest.mark.parametrize(
    "error",
    [
        "APPROVAL_RESUME_INVALID",
        "APPROVAL_RESUME_NOT_FOUND: No pending interrupt found.",
        "UNKNOWN_INTERRUPT_ID: x",
        "AGUI_CREWAI_NO_PENDING_FEEDBACK",
        "Tool call results were provided, but the message history is empty.",
        "UNKNOWN_INTERRUPT",
        'Agent "mail" resumeStream() could not find a suspended run for runId "r-1".',
        "When there are multiple pending interrupts, you must specify the interrupt id when resuming.",
    ],
)
def test_known_codes_and_messages_say_that_an_answer_was_not_taken(error: str) -> None:
    assert dialects.not_accepted(error)


@pytest.mark.parametrize("error", ["", "error", "MODEL_DOWN: no model", "'decisions'", "The tool failed: timeout"])
def test_any_other_error_leaves_it_open_whether_something_was_done(error: str) -> None:
    assert not dialects.not_accepted(error)
