"""What is peculiar to one framework: several calls in one pause, options, commands, forms without an id."""

import json
from dataclasses import replace
from typing import Any

import pytest

from streams.errors import WireError
from streams.events import Asked, Executed, Fact
from streams.providers.agui.state import State
from streams.providers.base import Account, Answer, Call, Carried
from streams.sse import Frame
from tests.streams import tapes
from tests.streams.agui_frames import (
    RUN,
    agui,
    answer,
    asks,
    begin,
    body_of,
    called,
    ev,
    finished,
    interrupt,
    paused,
    question,
    started,
)
from tests.streams.dialect_cases import (
    ALL_KINDS,
    APPROVED_ONLY,
    ARGS,
    ARGUMENTS,
    CASES,
    EDITED,
    FLAT,
    HEX,
    HEX2,
    PER_CALL,
    SUSPENDED,
    URL,
    after,
    crewai,
    decision,
    entry,
    fold,
    langgraph,
    mail,
    on_interrupt,
    per_call_schema,
    proofs,
    result,
)

# --- edge cases of single frameworks ---


def one(*frames: Frame, pinned: str = "") -> tuple[State, list[Asked]]:
    state, facts = fold(started(), *frames, state=begin(account=Account(URL, dialect=pinned)))
    return state, asks(facts)


def answered(state: State, *answers: Answer) -> dict[str, Any]:
    return body_of(agui.decision_call(Account(URL), RUN, state, answers, new_run_id="run-2"))


def hitl(*allowed: list[str], **raw: Any) -> dict[str, Any]:
    names = ["send_email", "delete_rows", "pay"][: len(allowed)]
    return {
        "action_requests": [{"name": name, "args": {"n": place}} for place, name in enumerate(names)],
        "review_configs": [
            {"action_name": name, "allowed_decisions": kinds} for name, kinds in zip(names, allowed, strict=True)
        ],
        **raw,
    }


def test_each_action_of_an_interrupt_is_a_question_and_the_decisions_go_by_place() -> None:
    state, found = one(paused(langgraph(hitl(["approve", "edit", "reject"], ["approve", "reject"]))))
    assert [(asked.call_id, asked.tool, asked.edit) for asked in found] == [
        (f"{HEX}/0", "send_email", True),
        (f"{HEX}/1", "delete_rows", False),
    ]
    mail_asked, delete = found
    body = answered(state, answer(delete, "reject", reason="no"), answer(mail_asked, edited='{"n": 5}'))
    assert (
        body["resume"]
        == entry(
            {
                "decisions": [
                    decision("edit", edited_action={"name": "send_email", "args": {"n": 5}}),
                    decision("reject", message="no"),
                ]
            },
            HEX,
        )["resume"]
    )


def test_actions_are_found_again_when_their_interrupt_is() -> None:
    state, (first, _) = one(paused(langgraph(hitl(["approve"], ["approve"]))))
    carried = Carried(question(first), "approve", only_open=True, answering_run="run-1")
    again = paused(langgraph(hitl(["approve"], ["approve"])))
    assert agui.evidence(carried, "RUN_FINISHED", again.data) == "not_applied"


@pytest.mark.parametrize(
    "raw",
    [
        hitl(["reject"]),
        hitl([]),
        hitl(["approve"], review_configs=None),
        hitl(["approve"], review_configs=[{"action_name": "other", "allowed_decisions": ["approve"]}]),
        hitl(["approve"], action_requests=[{"name": "send_email"}]),
        hitl(["approve"], action_requests=[{"args": {}}]),
        hitl(["approve"], action_requests=[{"name": "send_email", "args": [1]}]),
        hitl(["approve"], action_requests=[5]),
        hitl(["approve"], action_requests=[]),
        hitl(["approve"], action_requests="all"),
        hitl(["approve"], action_requests=[{"name": "send_email", "args": {}}] * 101),
        {
            **hitl(["approve"]),
            "review_configs": [
                {"action_name": "send_email", "allowed_decisions": kinds} for kinds in (["approve"], ["reject"])
            ],
        },
    ],
    ids=str,
)
def test_an_action_that_cannot_be_read_or_takes_no_yes_cannot_be_approved(raw: Any) -> None:
    _, found = one(paused(langgraph(raw)))
    assert found
    assert all(asked.problem and not asked.edit for asked in found)


def test_a_refusal_that_the_server_does_not_take_is_not_sent() -> None:
    state, (asked,) = one(paused(langgraph(hitl(["approve"]))))
    assert not asked.hears_reason
    with pytest.raises(WireError, match="takes no refusal"):
        answered(state, answer(asked, "reject"))


def two(schema: Any = ALL_KINDS) -> list[Frame]:
    other = {**PER_CALL, "tool_call_id": "tc-5"}
    return [
        *mail(),
        *mail("tc-5"),
        on_interrupt(PER_CALL, response_schema=schema),
        on_interrupt(other, HEX2, response_schema=per_call_schema("approve", "reject")),
        paused(langgraph(PER_CALL, toolCallId="tc-4"), langgraph(other, HEX2, toolCallId="tc-5")),
    ]


def test_several_interrupts_of_langgraph_are_answered_by_their_ids_in_a_command() -> None:
    state, (first, second) = one(*two())
    body = answered(state, answer(first), answer(second, "reject"))
    assert "resume" not in body
    assert body["forwardedProps"] == {"command": {"resume": {HEX: decision("approve"), HEX2: decision("reject")}}}


def test_several_interrupts_whose_ids_langgraph_did_not_make_cannot_be_answered() -> None:
    _, found = one(paused(langgraph(PER_CALL, "a"), langgraph(PER_CALL, "b")))
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True, True]


def test_a_call_that_takes_no_plain_yes_is_not_approved() -> None:
    only = per_call_schema("reject")
    frames = [*mail(), on_interrupt(PER_CALL, response_schema=only), paused(langgraph(PER_CALL, toolCallId="tc-4"))]
    _, (asked,) = one(*frames)
    assert (asked.problem, asked.edit) == ("the server takes no plain yes for it", False)


def test_a_call_whose_schema_nobody_told_takes_yes_and_no_and_no_changes() -> None:
    state, (asked,) = one(*mail(), paused(langgraph(PER_CALL, toolCallId="tc-4")))
    assert (asked.problem, asked.edit) == ("", False)
    assert answered(state, answer(asked))["resume"][0]["payload"] == {"type": "approve"}


def test_a_question_of_which_only_the_author_knows_the_answer_takes_one_that_a_person_writes() -> None:
    state, (asked,) = one(paused(langgraph({"choose": ["red", "blue"]})))
    assert (asked.answer, asked.edit, json.loads(asked.arguments)) == (
        True,
        False,
        {"langgraph": {"raw": {"choose": ["red", "blue"]}, "ns": None}},
    )
    assert answered(state, answer(asked, answer='"blue"'))["resume"][0]["payload"] == "blue"
    for verdict in ("approve", "reject", "nobody"):
        with pytest.raises(WireError):
            answered(state, answer(asked, verdict))


def test_a_text_as_interrupt_is_its_message() -> None:
    state, (asked,) = one(ev("CUSTOM", name="on_interrupt", value="Which city?"), finished())
    assert (asked.message, asked.answer, asked.arguments, asked.problem) == ("Which city?", True, "", "")
    assert answered(state, answer(asked, answer='"Oslo"'))["forwardedProps"] == {"command": {"resume": "Oslo"}}


def test_the_same_question_without_an_id_has_the_same_name_and_another_one_another() -> None:
    ids = [one(ev("CUSTOM", name="on_interrupt", value=text), finished())[1][0].call_id for text in ("A?", "A?", "B?")]
    assert ids[0] == ids[1] != ids[2]


def test_two_questions_that_a_command_cannot_tell_apart_cannot_be_answered() -> None:
    customs = [ev("CUSTOM", name="on_interrupt", value=text) for text in ("A?", "B?")]
    state, found = one(*customs, finished())
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True, True]
    assert state.asks == ()


def test_langgraph_is_not_believed_a_success_that_shows_nothing_of_the_call() -> None:
    """It ends well on a thread that it has forgotten, too."""
    case = CASES["langgraph, its middleware"]
    assert proofs(case, finished("run-2")) == [None]
    assert proofs(case, finished("run-2", outcome={"type": "success"})) == ["applied"]
    forgot = ev("MESSAGES_SNAPSHOT", messages=[{"id": "a", "role": "assistant", "content": "Hello"}])
    assert proofs(case, forgot) == [None]
    state, (asked,) = one(paused(langgraph(hitl(["approve"]))))  # no call is known: only the end can tell
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-2")
    assert agui.evidence(carried, "RUN_FINISHED", finished("run-2").data) == "applied"


def test_a_node_of_langgraph_that_asks_for_its_next_call_has_taken_the_answer() -> None:
    """As ag-ui-langgraph 0.0.47 was seen to ask by default: a CUSTOM event, and an end without an outcome."""
    call = {"name": "send_email", "args": ARGS, "toolCallId": "tc-4"}
    state, (asked,) = one(*mail(), on_interrupt(call), finished())
    ended = finished("run-2")
    for asks_on, proof in (((HEX2,), "applied"), ((f"{HEX}/0",), None), ((), None)):
        carried = Carried(question(asked), "approve", only_open=True, answering_run="run-2", asks=asks_on)
        assert agui.evidence(carried, "RUN_FINISHED", ended.data) == proof


def test_other_servers_restate_old_results_so_their_snapshots_prove_nothing() -> None:
    restated = ev("MESSAGES_SNAPSHOT", messages=[{"id": "t", "role": "tool", "toolCallId": "tc-4", "content": "{}"}])
    assert proofs(CASES["adk"], restated) == proofs(CASES["strands"], restated) == [None]


def framework(given: str, call_id: str, name: str) -> dict[str, Any]:
    call = {"call_id": call_id, "name": name, "arguments": {"n": call_id}}
    return interrupt(
        given, toolCallId=call_id, responseSchema=FLAT, metadata={"agent_framework": {"function_call": call}}
    )


BOTH = paused(framework("af-1", "a", "send_email"), framework("af-2", "b", "delete_rows"))


@pytest.mark.parametrize(("verdict", "said"), [("approve", True), ("reject", False), ("nobody", False)])
def test_calls_that_agent_framework_takes_together_only_are_one_question(verdict: str, said: bool) -> None:
    state, (asked,) = one(BOTH)
    state = agui.load(agui.dump(state))
    assert (asked.tool, asked.edit, asked.hears_reason, asked.problem) == ("send_email, delete_rows", False, False, "")
    assert json.loads(asked.arguments) == [
        {"tool": "send_email", "arguments": {"n": "a"}},
        {"tool": "delete_rows", "arguments": {"n": "b"}},
    ]
    assert "approve all of them or none" in asked.limits
    resume = answered(state, answer(asked, verdict))["resume"]
    assert [(one["interruptId"], one["payload"]) for one in resume] == [
        ("af-1", {"approved": said}),
        ("af-2", {"approved": said}),
    ]
    with pytest.raises(WireError):
        answered(state, answer(asked, edited='{"n": 1}'))


def test_a_part_of_them_asked_again_proves_nothing_and_all_of_them_that_they_were_not_taken() -> None:
    _, (asked,) = one(BOTH)
    carried = Carried(question(asked), "approve", only_open=True, answering_run="run-1")
    rest = paused(framework("af-2", "b", "delete_rows"))
    assert agui.evidence(carried, "RUN_FINISHED", BOTH.data) == "not_applied"
    assert agui.evidence(carried, "RUN_FINISHED", rest.data) is None
    assert agui.evidence(carried, "TOOL_CALL_RESULT", result("a").data) == "applied"


def test_one_broken_call_keeps_the_others_with_it_from_approval() -> None:
    broken = Frame(data=BOTH.data.replace('{"n": "b"}', '{"n": "b", "n": "c"}'))
    _, (asked,) = one(broken)
    assert asked.problem


def test_a_question_that_tells_another_call_than_the_stream_cannot_be_approved() -> None:
    other = {"tool_name": "send_email", "tool_input": {**ARGS, "cents": 9_999_999}}
    asking_of = interrupt("v1:before_tool_call:tc-4:u", responseSchema=APPROVED_ONLY, metadata=other)
    _, (asked,) = one(*mail(), paused(asking_of))
    assert "different calls" in asked.problem
    same = {"tool_name": "send_email", "tool_input": {"cents": 1200.0, "to": "ana@shop.example"}}
    _, (asked,) = one(*mail(), paused({**asking_of, "metadata": same}))
    assert asked.problem == ""
    hidden = {"originalFunctionCall": {"id": "tc-4", "name": "send_email", "args": {"to": "eve"}}}
    adk = interrupt("adk-1", toolCallId="adk-1", responseSchema=..., metadata={"adk": hidden})
    _, (asked,) = one(*mail(), *called("adk-1", "adk_request_confirmation", "{}"), paused(adk))
    assert "different calls" in asked.problem


def test_an_adk_question_without_its_call_cannot_be_approved() -> None:
    bare = interrupt("adk-1", toolCallId="adk-1", responseSchema=..., metadata={"adk": {}})
    _, (asked,) = one(*called("adk-1", "adk_request_confirmation", "{}"), paused(bare))
    assert "never shown" in asked.problem
    _, (asked,) = one(*called("adk-1", "adk_request_confirmation", "{}"), finished())
    assert "never shown" in asked.problem


def several(name: str) -> tuple[State, list[Asked]]:
    if name == "agno":
        return one(*mail("a"), *mail("b"), finished(), pinned="agno")
    calls: list[dict[str, Any]] = [
        {"originalFunctionCall": {"id": given, "name": "pay", "args": {}}} for given in ("a", "b")
    ]
    if name == "adk":
        made = [
            interrupt(f"adk-{n}", toolCallId=..., responseSchema=..., metadata={"adk": call})
            for n, call in enumerate(calls)
        ]
        return one(paused(*made))
    if name == "adk, defaults":
        frames = [
            f for n, call in enumerate(calls) for f in called(f"adk-{n}", "adk_request_confirmation", json.dumps(call))
        ]
        return one(*frames, finished())
    return one(paused(*(interrupt(f"m::{n}", toolCallId=..., metadata={"mastra": SUSPENDED}) for n in (1, 2))))


def test_where_only_one_of_several_answers_counts_none_can_be_approved_and_all_can_be_refused() -> None:
    state, found = several("mastra")
    assert [asked.problem for asked in found] == ["of several answers this framework carries out only one"] * 2
    with pytest.raises(WireError):
        answered(state, *(answer(asked) for asked in found))
    body = answered(state, *(answer(asked, "reject") for asked in found))
    said = body.get("resume") or body["messages"][-2:]
    assert len(said) == 2
    assert "true" not in json.dumps(said)


def test_adk_takes_several_answers_where_one_message_holds_all_that_it_asked_by() -> None:
    state, (first, second) = several("adk")
    body = answered(state, answer(first), answer(second, "reject"))
    assert [entry["payload"] for entry in body["resume"]] == [{"confirmed": True}, {"confirmed": False}]
    (message,) = body["messages"]
    assert [(call["id"], call["function"]["name"]) for call in message["toolCalls"]] == [
        ("adk-0", "adk_request_confirmation"),
        ("adk-1", "adk_request_confirmation"),
    ]


@pytest.mark.parametrize(("name", "key"), [("adk, defaults", "confirmed"), ("agno", "accepted")])
def test_answers_that_are_results_of_calls_may_differ(name: str, key: str) -> None:
    state, (first, second) = several(name)
    said = answered(state, answer(first), answer(second, "reject"))["messages"][-2:]
    assert [(one["role"], json.loads(one["content"])) for one in said] == [
        ("tool", {key: True}),
        ("tool", {key: False}),
    ]


def test_what_adk_does_not_say_of_a_call_that_it_has_forgotten_is_not_taken_for_done() -> None:
    end = finished(run="run-2")
    assert proofs(CASES["adk"], end) == proofs(CASES["adk, defaults"], end) == [None]
    assert proofs(CASES["agno"], end) == ["applied"]
    assert proofs(CASES["adk"], result(content='{"error": "This tool call is rejected."}')) == ["applied"]


@pytest.mark.parametrize(
    "said",
    [
        "UNKNOWN_INTERRUPT: Resume entry references unknown interrupt 'adk-1'",
        "BACKGROUND_EXECUTION_ERROR: Function call not found for function response ids: {'adk-1'}. Ensure each",
        "BACKGROUND_EXECUTION_ERROR: Tool 'send_email' does not require confirmation.",
        "No paused run matching the provided tool results found in session thread-1",
        "Partial resume: requirements ['tc-4'] still unresolved",
    ],
)
def test_answers_that_a_server_knows_no_question_for_were_not_taken(said: str) -> None:
    assert agui.not_accepted(said)


def test_answers_of_strands_may_differ() -> None:
    made = [
        interrupt(f"v1:before_tool_call:{call_id}:u", toolCallId=call_id, responseSchema=APPROVED_ONLY)
        for call_id in ("tc-4", "tc-5")
    ]
    state, (first, second) = one(*mail(), *mail("tc-5"), paused(*made))
    resume = answered(state, answer(first), answer(second, "reject"))["resume"]
    assert [entry["payload"] for entry in resume] == [{"approved": True}, {"approved": False}]


def test_a_tool_of_strands_that_asks_by_itself_takes_what_a_person_writes() -> None:
    own = interrupt("v1:tool_call:tc-4:u", toolCallId=..., responseSchema=..., metadata={"reason": {"q": 1}})
    state, (asked,) = one(paused(own))
    assert (asked.answer, asked.edit, asked.problem, asked.arguments) == (True, False, "", '{"reason": {"q": 1}}')
    assert answered(state, answer(asked, answer='{"ok": true}'))["resume"][0]["payload"] == {"ok": True}
    with pytest.raises(WireError):
        answered(state, answer(asked))


@pytest.mark.parametrize(("reason", "words"), [("To Ana?", "To Ana?"), ({"limit": 5}, '{"limit": 5}')])
def test_a_tool_of_strands_that_asks_by_itself_is_shown_as_the_call_it_is(reason: object, words: str) -> None:
    own = interrupt("v1:tool_call:tc-4:u", reason="approval", toolCallId=..., metadata={"reason": reason})
    _, (asked,) = one(*mail(), paused(own))
    assert (asked.tool, asked.arguments, asked.tool_call_id) == ("send_email", ARGUMENTS, "tc-4")
    assert (asked.message, asked.problem) == (words, "")


@pytest.mark.parametrize(
    "options", [["approved", "confirm"], ["ship it", "hold"], ["approved"], ["approved", "rejected", "no"], []]
)
def test_options_that_are_not_plainly_yes_and_no_are_chosen_by_a_person(options: list[str]) -> None:
    state, (asked,) = one(paused(crewai(responseSchema={"type": "string", "enum": options})))
    assert asked.answer or not options
    with pytest.raises(WireError):
        answered(state, answer(asked))
    with pytest.raises(WireError):
        answered(state, answer(asked, "nobody"))
    if options:
        chosen = answered(state, answer(asked, answer=json.dumps(options[0])))
        assert chosen["resume"][0]["payload"] == options[0]


def test_a_draft_without_an_id_is_answered_without_one() -> None:
    state, (asked,) = one(finished(outcome="interrupt", interrupt={"reason": "human_approval", "payload": {"a": 1}}))
    assert answered(state, answer(asked))["resume"] == {"payload": {"approved": True}}
    state, (asked,) = one(finished(outcome="interrupt", interrupt={"reason": "upload", "payload": {"a": 1}}))
    assert asked.answer
    assert answered(state, answer(asked, answer='"file-7"'))["resume"] == {"payload": "file-7"}


def test_a_silent_pause_is_answered_only_where_the_account_says_agno() -> None:
    state, (asked,) = one(*mail(), finished())
    assert "may be waiting" in asked.problem
    assert state.asks == ()
    _, found = one(*mail(), result(), finished(), pinned="agno")
    assert found == []


def test_a_tool_of_our_own_is_asked_about_beside_an_interrupt_whatever_its_name() -> None:
    tools = [{"name": name, "description": "d"} for name in ("request_approval", "confirm_changes")]
    run = replace(RUN, options={"tools": tools})
    frames = [*mail(), *called("c-1", "request_approval", "{}"), *called("c-2", "confirm_changes", "{}")]
    _, facts = fold(started(), *frames, paused(interrupt(metadata={"x": 1})), state=begin(run))
    assert [asked.call_id for asked in asks(facts)] == ["ask-1", "c-1", "c-2"]
    _, facts = fold(started(), *frames, paused(framework("af-1", "tc-9", "pay")), state=begin(run))
    assert [asked.call_id for asked in asks(facts)] == ["af-1", "c-1"]  # its own second signal of the same pause


@pytest.mark.parametrize("name", ["langgraph, defaults", "mastra, before", "adk, defaults", "first draft"])
def test_who_pins_plain_wants_no_other_form_answered(name: str) -> None:
    state, found = one(*CASES[name].frames, pinned="plain")
    assert [asked.problem.startswith("paused in a form") for asked in found] == [True]
    assert state.asks == ()


def test_forwarded_properties_go_along_without_an_old_command() -> None:
    opening = tapes.opening("langgraph/legacy-01-run1-email")
    body = {**json.loads(opening.body or b""), "forwardedProps": {"tenant": 5, "command": {"resume": "old"}}}
    call = Call("POST", URL, body=json.dumps(body).encode())
    state, facts = tapes.play("langgraph/legacy-01-run1-email", call=call)
    sent_body = answered(state, answer(asks(facts)[0]))
    assert sent_body["forwardedProps"] == {"tenant": 5, "command": {"resume": {"approved": True}}}
    call = Call("POST", URL, body=json.dumps({**body, "forwardedProps": [1]}).encode())
    state, facts = tapes.play("langgraph/legacy-01-run1-email", call=call)
    with pytest.raises(WireError, match="no object"):
        answered(state, answer(asks(facts)[0]))


# --- with which arguments a call ran ---


def ran(facts: list[Fact]) -> list[Executed]:
    return [fact for fact in facts if isinstance(fact, Executed)]


def test_an_answering_run_that_tells_the_call_again_tells_what_it_ran_with() -> None:
    case = CASES["langgraph, its middleware"]
    facts = after(case, *called("tc-4", "send_email", EDITED), result(), finished("run-2"))
    assert ran(facts) == [Executed("tc-4", "send_email", EDITED)]


def test_a_result_alone_and_a_run_that_answers_nothing_tell_no_arguments() -> None:
    assert ran(after(CASES["pydantic-ai"], result(), finished("run-2"))) == []
    _, facts = fold(started(), *mail(), result(), finished(), state=begin())
    assert ran(facts) == []
