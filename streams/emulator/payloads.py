"""Arguments that no decent agent would propose: texts in the place of a tool's JSON input."""

from collections.abc import Callable, Mapping

_INNER = '"to":"ines@harbour.example"'

PAYLOADS: Mapping[str, Callable[[], str]] = {
    "unparsable": lambda: "{" + _INNER + ',"amount":',
    "nul": lambda: "{" + _INNER + ',"note":"before\\u0000after"}',
    "raw-nul": lambda: "{" + _INNER + ',"note":"before\x00after"}',
    "lone-surrogate": lambda: "{" + _INNER + ',"note":"\\ud83d alone"}',
    "huge-float": lambda: "{" + _INNER + ',"amount":1e400}',
    "huge-integer": lambda: "{" + _INNER + ',"amount":1' + "0" * 400 + "}",
    "long-integer": lambda: "{" + _INNER + ',"amount":' + "9" * 5000 + "}",
    "deep": lambda: '{"path":' + "[" * 200 + "]" * 200 + "}",
    "very-deep": lambda: '{"path":' + "[" * 100_000 + "]" * 100_000 + "}",
    "duplicate-keys": lambda: '{"amount":10,' + _INNER + ',"amount":10000}',
    "nan": lambda: "{" + _INNER + ',"amount":NaN}',
    "not-an-object": lambda: '"just words"',
    "empty": lambda: "",
    "null": lambda: "null",
}
