"""Each kind of provider in words, and what a run of it starts with. A kind without a word here is asked for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from streams import providers as adapters
from streams.providers.base import Account, Capabilities

Shape = Literal["line", "text", "object", "list", "json"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing a start is asked for. `into`: task, workflow, an option by its name, or all options at once."""

    name: str
    label: str
    hint: str = ""
    into: Literal["task", "workflow", "option", "options"] = "option"
    shape: Shape = "line"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind is, where it answers, and what its starts ask for. `about`: a name for the options together."""

    says: str
    icon: str
    address: str
    start: Sequence[Asked]
    about: str = ""
    folded: bool = False  # the options are closed until somebody wants one


MINDRA = Kind(
    "Workflows that pause for approval. Each answer goes to its own address.",
    "runs",
    "Where Mindra's API answers, without a path such as /v1.",
    (
        Asked("workflow", "Workflow", "Its slug, as Mindra's addresses have it.", "workflow", required=True),
        Asked("task", "Task", "What the workflow is to do.", "task", "text", required=True),
        Asked("metadata", "Metadata", "A JSON object that goes along, such as {\"ticket\": 4711}.", shape="object"),
    ),
)  # fmt: skip
MIDDESK = Kind(
    "Runs that stop with a list of questions. Answering from here is off until you switch it on.",
    "page",
    "Where Middesk's API answers; /v1 may be left out.",
    (
        Asked("workflow", "Agent", "Its type, such as cip_orchestrator.", "workflow", required=True),
        Asked("business_id", "Business", "The id of a business at Middesk."),
        Asked("context_type", "Other context: type", "Instead of a business; together with its id."),
        Asked("context_id", "Other context: id"),
        Asked("thread_id", "Thread", "The id of a thread to go on with."),
    ),
    "What it is about: a business, another context, or a thread",
)
AGUI = Kind(
    "Any agent that speaks AG-UI. All open questions of a run are answered in one call.",
    "plug",
    "The agent's own address: every run is one POST to it.",
    (
        Asked("task", "Message", "What the person says first. Without one the agent begins by itself.", "task", "text"),
        Asked("forwardedProps", "Forwarded properties", "JSON that goes to the agent as it is.", shape="json"),
        Asked("state", "State", "JSON that the run begins with.", shape="json"),
        Asked("tools", "Tools", "A JSON list of tools that the agent may call on our side.", shape="list"),
        Asked("context", "Context", "A JSON list of objects with description and value, both texts.", shape="list"),
    ),
    "More for the agent: properties, state, tools, context",
    folded=True,
)
LANGGRAPH = Kind(
    "Threads of the LangGraph platform. Each interrupt is answered by its own id.",
    "plug",
    "Where the LangGraph server answers, such as http://127.0.0.1:2024.",
    (
        Asked("workflow", "Assistant", "Its id, or the name of a graph.", "workflow", required=True),
        Asked("task", "Message", "What the person says first; for a graph that takes messages.", "task", "text"),
        Asked("input", "Input", "Instead of a message: the graph's own input, a JSON object.", shape="object"),
        Asked("config", "Config", 'A JSON object, such as {"recursion_limit": 50}.', shape="object"),
        Asked("context", "Context", "A JSON object that the graph can read and nobody changes.", shape="object"),
        Asked("metadata", "Metadata", "A JSON object that is kept with the run.", shape="object"),
    ),
    "More for the graph: its own input, config, context, metadata",
    folded=True,
)
AGNO = Kind(
    "Agents of an Agno AgentOS. All calls of a pause are answered together.",
    "plug",
    "Where AgentOS answers, such as http://127.0.0.1:7777.",
    (
        Asked("workflow", "Agent", "Its id, as AgentOS lists it.", "workflow", required=True),
        Asked("task", "Message", "What the person says.", "task", "text", required=True),
        Asked("session_id", "Session", "The id of a session to go on with; else the run has one of its own."),
        Asked("user_id", "User", "For whom the agent works."),
        Asked("session_state", "Session state", "A JSON object that the session begins with.", shape="object"),
        Asked("dependencies", "Dependencies", "A JSON object of what the agent's instructions name.", shape="object"),
        Asked("metadata", "Metadata", "A JSON object that is kept with the run.", shape="object"),
    ),
    "More for the agent: session, user, state, dependencies, metadata",
    folded=True,
)
KINDS: Mapping[str, Kind] = {
    "mindra": MINDRA,
    "middesk": MIDDESK,
    "agui": AGUI,
    "langgraph": LANGGRAPH,
    "agno": AGNO,
}
DIALECTS = frozenset({"agui"})  # kinds whose frameworks differ


def kind(name: str) -> Kind:
    """The words for a kind; for one that has none, what its capabilities say."""
    return KINDS.get(name) or Kind("", "plug", "Where it answers.", _plain(adapters.REGISTRY[name].capabilities))


def _plain(can: Capabilities) -> Sequence[Asked]:
    return (
        Asked("workflow", "Workflow", into="workflow", required=can.needs_workflow),
        Asked("task", "Task", into="task", shape="text", required=can.needs_task),
        Asked("options", "Options", "A JSON object.", "options", "object"),
    )


def switched(name: str) -> bool:
    """Whether answering from here is off at this kind until somebody switches it on."""
    return name in adapters.REGISTRY and bool(adapters.REGISTRY[name].decidable(Account("https://provider.invalid")))
