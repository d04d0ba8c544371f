"""Google ADK: pauses told as interrupts, or by nothing but the call that it makes up to ask with."""

from tests.frameworks.cases.base import EMAIL, Case

CASES = [
    Case("adk", "adk", "/", "adk", edit=False, reason=False, several="each", chains=True, outcome=None),
    Case(
        "adk-defaults", "adk", "/defaults", "adk", edit=False, reason=False, several="each", chains=True, outcome=None
    ),
    Case(
        "adk-arguments",
        "adk",
        "/edit",
        "adk-arguments",
        family="adk",
        edit=True,
        reason=False,
        several="each",
        chains=True,
        outcome=None,
    ),
    Case(
        "adk-payload",
        "adk",
        "/payload",
        "adk-payload",
        family="adk",
        edit=False,
        reason=False,
        several="single",
        outcome=None,
        answer={"to": EMAIL["to"]},
        long=True,
    ),
]
