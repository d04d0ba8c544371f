"""Microsoft's agent framework: tools that always need approval."""

from tests.frameworks.cases.base import Case

CASES = [
    Case(
        "agent-framework",
        "agent_framework",
        "/",
        "agent-framework",
        edit=True,
        reason=False,
        several="bundle",
        chains=True,
        turns_reasons_away=True,
        outcome=None,
    ),
]
