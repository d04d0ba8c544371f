"""The dialects, each as it was seen.

Observed by running each framework's own server, 2026-11: pydantic-ai 2.68, agent-framework-ag-ui 1.7, ag-ui-langgraph
0.0.47, ag-ui-strands 1.0, ag-ui-adk 0.11, ag-ui-crewai 1.0, @ag-ui/mastra 1.1, agno 3.1. `verified` rows answer as a
recorded exchange with a real server did; the others as these servers were observed to understand it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streams.dialects.base import Dialect, Place

IGNORES_EDITS = "this framework ignores changed arguments and runs the original call"


def _own(interrupt: Mapping[str, Any], key: str) -> Any:
    """What a framework keeps in the metadata under its name; None where it has nothing there."""
    found = interrupt.get("metadata")
    return found.get(key) if isinstance(found, Mapping) else None


def _id_begins(interrupt: Mapping[str, Any], start: str) -> bool:
    found = interrupt.get("id")
    return isinstance(found, str) and found.startswith(start)


def _strands_call(interrupt_id: str) -> str:
    """`v1:tool_call:` + the call's id + `:` + a UUID."""
    return interrupt_id.removeprefix("v1:tool_call:").rpartition(":")[0]


def _raw(interrupt: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a LangGraph interrupt was raised with, where that is an object."""
    own = _own(interrupt, "langgraph")
    found = own.get("raw") if isinstance(own, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_pydantic_ai(interrupt: Mapping[str, Any]) -> bool:
    """`int-` + the call's id, and no metadata."""
    return not interrupt.get("metadata") and interrupt.get("id") == f"int-{interrupt.get('toolCallId')}"


def _is_per_call(interrupt: Mapping[str, Any]) -> bool:
    return _raw(interrupt).get("type") == "tool_approval"


def _wanted_payload(interrupt: Mapping[str, Any]) -> tuple[Any, Any]:
    """What a confirmation of ADK's shows as its payload, and the call's arguments."""
    own = _own(interrupt, "adk")
    parts = [
        own.get(name) if isinstance(own, Mapping) else None for name in ("toolConfirmation", "originalFunctionCall")
    ]
    confirms, call = (part if isinstance(part, Mapping) else {} for part in parts)
    return confirms.get("payload"), call.get("args")


def _wants_arguments(interrupt: Mapping[str, Any]) -> bool:
    payload, arguments = _wanted_payload(interrupt)
    return isinstance(payload, Mapping) and bool(payload) and payload == arguments


PLAIN = Dialect(
    "plain",
    verified=True,
    cancelled_is_safe=True,  # the specification's own word for it
    bare_boolean=True,
    not_accepted=frozenset(
        {
            "INTERRUPT_EXPIRED",
            "INVALID_PAYLOAD",
            "RESUME_REQUIRED",
            "RUN_ID_REUSED",
            "UNKNOWN_INTERRUPT",
            "INCOMPLETE_RESUME",
        }
    ),
)

DRAFT = Dialect(  # one interrupt beside a text as outcome; by its form alone
    "draft",
    places=(Place(("payload",)),),
    several="one",
    no_edit="this form of a pause, from before AG-UI 1.0, has no place for changed arguments",
    no_reason="this form of a pause, from before AG-UI 1.0, has no place for a reason",
)

DRAFT_ANSWER = replace(DRAFT, name="draft-answer", family="draft", own_answer=True)  # only its author knows the answer

PYDANTIC_AI_TEXTS = (
    "cannot map it back to a tool call id",
    "does not match the `responseSchema` advertised on the interrupt",
    "Tool call results were provided, but the message history is empty",
    "not waiting on",
)
LANGGRAPH_TEXTS = ("you must specify the interrupt id when resuming",)

ADK = Dialect(
    "adk",
    verified=True,
    recognise=lambda interrupt: _own(interrupt, "adk") is not None,
    root=("metadata", "adk"),
    places=(Place(("originalFunctionCall", "args"), ("originalFunctionCall", "name"), ("originalFunctionCall", "id")),),
    place_first=True,
    made_up="adk_request_confirmation",
    shape="key",
    key="confirmed",  # a boolean: a text such as "no thanks" would execute
    one_message=True,  # else only the last entry takes effect
    remembers=True,  # a user's message sent again would begin anew on a server that has forgotten the thread
    proves_by_call=True,  # an answer that it does not know any more ends without a word
    cancelled_is_safe=True,  # a denial
    no_edit=IGNORES_EDITS,
    no_reason="this framework takes yes or no, without words",
    not_accepted=frozenset({"UNKNOWN_INTERRUPT", "INTERRUPT_RESUME_REQUIRED", "INTERRUPT_RESUME_INCOMPLETE"}),
    not_accepted_texts=(
        "Function call not found for function response ids",  # after a restart
        "' does not require confirmation.",  # of a tool that asks by itself, in an app that cannot resume
    ),
)

ROWS = (
    PLAIN,
    DRAFT,
    DRAFT_ANSWER,
    Dialect(
        "pydantic-ai",  # client mode: the server keeps nothing, the whole history goes back
        verified=True,
        recognise=_is_pydantic_ai,
        cancelled_is_safe=True,  # "Cancelled by user.", a denial
        not_accepted_texts=PYDANTIC_AI_TEXTS,
    ),
    Dialect(
        "pydantic-ai-server",  # server mode, to be pinned: the conversation need not go back; sent along, it is taken
        family="pydantic-ai",
        verified=True,
        cancelled_is_safe=True,
        remembers=True,
        not_accepted_texts=PYDANTIC_AI_TEXTS,
    ),
    Dialect(
        "agent-framework",
        verified=True,
        recognise=lambda interrupt: _own(interrupt, "agent_framework") is not None or _id_begins(interrupt, "af-"),
        root=("metadata", "agent_framework"),
        places=(Place(("function_call", "arguments"), ("function_call", "name")),),
        made_up="confirm_changes",
        # The server keeps what waits, but no conversation unless it was given a store: without ours, the model that
        # goes on would see the call's result alone.
        several="bundle",  # one yes and one no never completes: the no is asked again for ever
        no_reason="this framework takes a reason for changed arguments and refuses the answer",
        refuses_reason=True,
        not_accepted=frozenset(
            {
                "APPROVAL_RESUME_INVALID",
                "APPROVAL_RESUME_NOT_FOUND",
                "APPROVAL_RESUME_REQUIRED",
                "APPROVAL_RESUME_MISSING_INTERRUPT",
            }
        ),
    ),
    Dialect(
        "langgraph-hitl",  # the middleware for people in the loop: one interrupt, several actions
        family="langgraph",
        verified=True,
        recognise=lambda interrupt: "action_requests" in _raw(interrupt),
        root=("metadata", "langgraph", "raw"),
        shape="decisions",
        several="keyed",
        remembers=True,
        owns_state=True,
        proves_by_call=True,
        not_accepted_texts=LANGGRAPH_TEXTS,
    ),
    Dialect(
        "langgraph-percall",  # the same, one interrupt a call
        family="langgraph",
        verified=True,
        recognise=_is_per_call,
        root=("metadata", "langgraph", "raw"),
        places=(Place(("args",), ("name",)),),
        shape="decision",
        several="keyed",  # two entries of `resume` always fail
        remembers=True,
        owns_state=True,
        proves_by_call=True,
        not_accepted_texts=LANGGRAPH_TEXTS,
    ),
    Dialect(
        "langgraph",  # a node that calls interrupt(): its author decides what is asked and answered
        verified=True,
        recognise=lambda interrupt: _own(interrupt, "langgraph") is not None,
        root=("metadata", "langgraph", "raw"),
        places=(Place(("args",), ("name",)), Place(("action", "args"), ("action", "name"))),
        several="keyed",
        remembers=True,
        owns_state=True,
        own_answer=True,
        proves_by_call=True,
        not_accepted_texts=LANGGRAPH_TEXTS,
    ),
    Dialect(
        "strands-native",  # a tool that interrupts by itself, and reads the answer by itself
        family="strands",
        verified=True,
        recognise=lambda interrupt: _id_begins(interrupt, "v1:tool_call:"),
        root=("metadata",),
        call_in_id=_strands_call,
        words=("reason",),
        remembers=True,
        own_answer=True,
        no_edit=IGNORES_EDITS,
        not_accepted=frozenset({"UNKNOWN_INTERRUPT_ID", "INTERRUPT_RESUME_ERROR", "PENDING_INTERRUPTS"}),
    ),
    Dialect(
        "strands",
        verified=True,
        recognise=lambda interrupt: _id_begins(interrupt, "v1:before_tool_call:"),
        root=("metadata",),
        places=(Place(("tool_input",), ("tool_name",)),),
        remembers=True,
        cancelled_is_safe=True,  # a denial
        no_edit=IGNORES_EDITS,
        not_accepted=frozenset(
            {"UNKNOWN_INTERRUPT_ID", "INTERRUPT_RESUME_ERROR", "INVALID_PAYLOAD", "PENDING_INTERRUPTS"}
        ),
    ),
    replace(
        ADK,
        name="adk-arguments",  # the tool asks by itself, with the call's own arguments as the payload that it waits for
        family="adk",
        recognise=_wants_arguments,
        changes_key="payload",
        no_edit="",
    ),
    replace(
        ADK,
        name="adk-payload",  # the same with a payload of its own, which its author knows
        family="adk",
        recognise=lambda interrupt: _wanted_payload(interrupt)[0] is not None,
        answer_key="payload",
        words=("toolConfirmation", "payload"),
        own_answer=True,
        no_edit="the tool waits for an answer of its own instead",
        remark="An answer is the payload that the tool waits for, in the form in which it showed one.",
    ),
    ADK,
    Dialect(
        "crewai",
        verified=True,
        recognise=lambda interrupt: _own(interrupt, "crewai") is not None,
        root=("metadata", "crewai"),
        places=(Place(("output",), ("methodName",)),),  # what the flow's method returned: there is no call
        several="one",
        one_id=True,  # the thread's
        remembers=True,
        owns_state=True,
        own_answer=True,  # a text that the flow reads; `cancelled` takes the first option of its list and runs it
        options=True,
        no_edit="this framework takes words, no changed arguments",
        no_reason="this framework takes one of its own words, without a reason",
        remark="This framework does not look at which question an answer is for.",
        not_accepted=frozenset({"AGUI_CREWAI_NO_PENDING_FEEDBACK"}),
    ),
    Dialect(
        "mastra",
        verified=True,
        recognise=lambda interrupt: _own(interrupt, "mastra") is not None,
        root=("metadata", "mastra"),
        places=(Place(("args",), ("toolName",)),),
        several="one",
        remembers=True,
        not_accepted_texts=("could not find a suspended run",),  # after a restart without a store, and on a late answer
    ),
    Dialect(
        "agno",  # to be pinned: its pause is a call without a result and nothing else
        verified=True,
        shape="key",
        key="accepted",
        reason_key="note",
        asks_silently=True,
        no_edit=IGNORES_EDITS,
        not_accepted_texts=("No paused run matching the provided tool results", "Partial resume: requirements"),
    ),
)
