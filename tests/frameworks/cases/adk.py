"""Google ADK: pauses told as interrupts, or by nothing but the call that it makes up to ask with."""

from tests.frameworks.cases.base import Case

CASES = [
    Case("adk", "adk", "/", "adk", edit=False, reason=False, several="each", outcome=None),
    Case("adk-defaults", "adk", "/defaults", "adk", edit=False, reason=False, several="each", outcome=None),
]
