"""Every framework's ways of asking."""

from tests.frameworks.cases import adk, agent_framework, agno, crewai, langgraph, mastra, pydantic_ai, strands
from tests.frameworks.cases.base import DELETION, EMAIL, Case

__all__ = ["CASES", "DELETION", "EMAIL", "Case"]

CASES = [
    case
    for module in (adk, agent_framework, agno, crewai, langgraph, mastra, pydantic_ai, strands)
    for case in module.CASES
]
