"""To be written."""

from tests.frameworks.cases.base import Case

CASES: list[Case] = []
