"""Mastra: tools that suspend until they are answered, told as AG-UI 1.0 does or in a CUSTOM event alone."""

from dataclasses import replace

from tests.frameworks.cases.base import Case

STANDARD = Case(
    "mastra", "mastra", "/", "mastra", edit=True, reason=True, several="turns", chains=True, outcome=None, long=True
)
CASES = [STANDARD, replace(STANDARD, name="mastra-legacy", path="/legacy")]
