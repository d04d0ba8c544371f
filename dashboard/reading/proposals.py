"""A question made of findings and proposals: how many there are, and whose. What a yes changes is not told by them."""

from collections.abc import Mapping
from typing import Any

from dashboard.reading.sentence import Part, Reading, counted, fact, glue, value

REVERSAL = "What a yes changes, and whether it can be taken back, is not known to this system."


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """Sure only of a list of proposals, or of a question with a list of findings."""
    proposals, findings = arguments.get("proposals"), arguments.get("artifacts")
    if isinstance(proposals, list) and proposals and all(isinstance(one, dict) for one in proposals):
        many = len(proposals) > 1
        what: tuple[Part, ...] = (fact(counted(len(proposals), "proposal")),)
        tail = ". One answer covers all of them." if many else "."
    elif isinstance(findings, list) and isinstance(arguments.get("label"), str):
        what = (
            (glue("what it concludes from "), fact(counted(len(findings), "finding")))
            if findings
            else (fact("what it proposes"),)
        )
        tail = "."
    else:
        return None
    named = arguments.get("agent")
    who = value(named) if isinstance(named, str) and named else value(tool) if tool else fact("the agent")
    return Reading("proposals", (glue("A yes lets "), who, glue(" act on "), *what, glue(tail)), REVERSAL)
