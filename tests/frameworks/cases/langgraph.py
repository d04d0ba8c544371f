"""LangGraph: behind its AG-UI adapter, in the words of AG-UI 1.0 and of before, and its platform's own server."""

from dataclasses import replace

from tests.frameworks.cases.base import EMAIL, Case

YES, NO = {"approved": True}, {"approved": False}
WHOLE = {"name": "send_email", "args": EMAIL, "message": "May this run?"}  # what a node of the author's own raises

NODE = Case("langgraph-node", "langgraph", "/node", "langgraph", True, True, "turns", outcome=None, chains=True)
TYPED = replace(NODE, name="langgraph-typed", path="/typed", edit=False, chains=False, long=True)
OWN = replace(TYPED, name="langgraph-own", path="/own", reason=False, answer=YES, refusal=NO)
HITL = replace(NODE, name="langgraph-hitl", path="/hitl", dialect="langgraph-hitl", family="langgraph", several="each")
PER_CALL = replace(HITL, name="langgraph-percall", path="/percall", dialect="langgraph-percall")


def legacy(case: Case) -> Case:
    """As the adapter asks where nobody set anything: by a CUSTOM event, without an outcome."""
    long = case.path != NODE.path
    return replace(case, name=case.name.replace("langgraph", "langgraph-legacy"), path=f"/legacy{case.path}", long=long)


def platform(case: Case) -> Case:
    """The same graph on the platform's own server."""
    return replace(
        case,
        name=case.name.replace("langgraph", "langgraph-platform"),
        framework="langgraph_platform",
        kind="langgraph",
        path="",
        dialect="",
        family="",
        workflow=case.path.removeprefix("/"),
        outcome="completed",
        long=True,
    )


ADAPTER = [NODE, TYPED, OWN, HITL, PER_CALL]
PLATFORM = [
    platform(replace(TYPED, shown=WHOLE)),
    platform(replace(OWN, shown=WHOLE)),
    platform(
        replace(
            OWN,
            name="langgraph-words",
            shown=WHOLE,
            settings={"approve": YES, "reject": {**NO, "reason": "{reason}"}},
            reason=True,
            answer=None,
            refusal=None,
        )
    ),
    platform(replace(HITL, several="bundle")),
    platform(PER_CALL),
]
BY_ID = [
    replace(case, name=f"{case.name}-by-id", settings={"answer_by_id": True}, long=True)
    for case in (NODE, HITL, legacy(NODE), legacy(PER_CALL))
]
CASES = [*ADAPTER, *map(legacy, ADAPTER), *BY_ID, *PLATFORM]
