"""CrewAI: flows whose methods wait for words, free or one of a list."""

from dataclasses import replace

from tests.frameworks.cases.base import EMAIL, Case

FREE = Case(
    "crewai",
    "crewai",
    "/",
    "crewai",
    edit=False,
    reason=False,
    several="turns",
    tool="propose",  # the flow's method: there is no call of a tool
    shown={"tool": "send_email", "arguments": EMAIL},
    outcome=None,
    answer="approved",
    refusal="rejected",
    long=True,
)
CASES = [
    FREE,
    replace(FREE, name="crewai-default", path="/default"),
    replace(FREE, name="crewai-emit", path="/emit", several="single", answer=None, refusal=None),
]
