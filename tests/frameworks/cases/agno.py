"""Agno: AgentOS' own wire, and its AG-UI interface, whose pause is a call without a result and has to be named."""

from tests.frameworks.cases.base import Case

CASES = [
    Case(
        "agno", "agno", "/agui", "agno", edit=False, reason=True, several="each", chains=True, outcome=None, pin="agno"
    ),
    Case(
        "agno-os",
        "agno",
        "",
        "",
        edit=True,
        reason=True,
        several="each",
        chains=True,
        kind="agno",
        workflow="clerk",
        outcome="completed",
        reads="/resume",
    ),
]
