"""AWS Strands: gated by the adapter's setting, or by the tool itself."""

from tests.frameworks.cases.base import Case

CASES = [
    Case("strands", "strands", "/", "strands", edit=False, reason=False, several="each"),
    Case(
        "strands-native",
        "strands",
        "/native",
        "strands-native",
        family="strands",
        edit=False,
        reason=False,
        several="single",
        answer={"approved": True},
        refusal={"approved": False},
    ),
]
