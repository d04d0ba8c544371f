"""SQL: which statements, on what, and whether a condition limits them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.reading.sentence import Notice, Part, Reading, counted, fact, first, glue, value, words
from dashboard.values import Number

TEXT = ("sql", "query", "statement", "sql_query", "statements")
WHERE = ("database", "db", "connection", "schema", "catalog")
WORDS = {"sql", "query", "database", "db", "migration", "migrate", "execute"}
# Comments, quoted text (also dollar-quoted), names, single marks: what is left is what counts.
TOKEN = re.compile(
    r"(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<text>'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    r'|(?P<name>"(?:[^"]|"")*"|`[^`]*`|\[[^\]\n]*\]|[^\W\d]\w*)|(?P<open>\'|/\*|"|`)|(?P<end>;)|(?P<other>\S)',
    re.DOTALL,
)
# What dialects read differently, so that a comment or a text of one is a statement of another.
AMBIGUOUS = re.compile(r"\\['\"]|/\*!|/\*(?:(?!\*/).)*/\*|--[^\s-]", re.DOTALL)
READS = {"SELECT", "SHOW", "EXPLAIN", "DESCRIBE"}
FRAME = {"BEGIN", "COMMIT", "START", "END", "SET"}
NO_LIMIT = {"UPDATE", "DELETE"}
WRITES = {
    "INSERT",
    "UPDATE",
    "DELETE",
    "MERGE",
    "INTO",
    "TRUNCATE",
    "DROP",
    "ALTER",
    "CREATE",
    "CALL",
    "EXECUTE",
    "COPY",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: its verb, what it is about, whether it has a condition, how many columns it sets."""

    verb: str
    target: str
    limited: bool
    columns: int = 0


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """SQL is an argument named so, or a query of a tool that is."""
    name, text = first(arguments, TEXT)
    if not isinstance(text, str) or isinstance(text, Number):
        return None
    if "sql" not in name.lower() and not words(tool) & WORDS:
        return None
    found = statements(text)
    if not found or any(not one.verb for one in found):
        return Reading("sql", (glue("Runs "), fact("SQL that this system cannot read"), glue(".")), lead=(name,))
    place_name, place = first(arguments, WHERE)
    where = [glue(" on "), value(place)] if isinstance(place, str) else []
    acting = [one for one in found if one.verb not in FRAME] or found
    bare = [one for one in acting if one.verb in NO_LIMIT and not one.limited]
    parts = _one(acting[0]) if len(acting) == 1 else _many(acting)
    reads = all(one.verb in READS for one in acting)
    notices = tuple(
        Notice("look", f"{one.verb} without WHERE", "Every row is meant: nothing in the statement limits it.")
        for one in bare[:1]
    )
    reversal = "Reads only, as far as the statement says." if reads else "Can be put back only from a backup."
    lead = tuple(found for found in (name, place_name) if found)
    return Reading("sql", (*parts, *where, glue(".")), reversal, notices, lead=lead)


def statements(text: str) -> list[Statement]:
    """The statements of a text; one that cannot be read for certain has no verb."""
    made: list[Statement] = []
    tokens: list[str] = []
    broken = AMBIGUOUS.search(text) is not None
    for found in TOKEN.finditer(text):
        if found["end"]:
            made += _statement(tokens, broken)
            tokens = []
        elif found["open"]:
            broken = True
        elif found["text"] is not None:
            tokens.append("''")
        elif not found["comment"]:
            tokens.append(found[0])
    return made + _statement(tokens, broken)


def _statement(tokens: list[str], broken: bool) -> list[Statement]:
    if not tokens and not broken:
        return []
    upper = [token.upper() for token in tokens]
    verb = upper[0] if upper and upper[0].isalpha() and not broken else ""
    if verb in READS | {"WITH"}:  # a named query or EXPLAIN ANALYZE can write
        verb = "" if WRITES & set(upper) else "SELECT" if verb == "WITH" else verb
    after = {"UPDATE": "UPDATE", "DELETE": "FROM", "INSERT": "INTO", "SELECT": "FROM", "TRUNCATE": "TRUNCATE"}
    target = _target(tokens, upper, after.get(verb, ""), verb)
    columns = _columns(upper) if verb == "UPDATE" else 0
    return [Statement(verb, target, _limited(upper), columns)]


def _limited(upper: Sequence[str]) -> bool:
    """Whether the statement itself (not a query inside it) has a condition that can be false."""
    depth = 0
    for index, word in enumerate(upper):
        depth += (word == "(") - (word == ")")
        if word == "WHERE" and depth == 0:
            return "".join(upper[index + 1 :]) not in {"TRUE", "1=1", "1"}
    return False


def _target(tokens: Sequence[str], upper: Sequence[str], after: str, verb: str) -> str:
    if verb in {"ALTER", "DROP", "CREATE"}:
        after = "ON" if "INDEX" in upper[:4] and "ON" in upper else next((w for w in upper[1:4] if w == "TABLE"), "")
    if after not in upper:
        return ""
    index = upper.index(after) + 1
    while index < len(upper) and upper[index] in {"TABLE", "ONLY", "IF", "NOT", "EXISTS", "LATERAL"}:
        index += 1
    made = ""
    while index < len(tokens) and (tokens[index] == "." or not made or made.endswith(".")):
        if not (tokens[index] == "." or tokens[index][0].isalpha() or tokens[index][0] in '_"`['):
            break
        made += tokens[index].strip('"`[]')
        index += 1
    return made


def _columns(upper: Sequence[str]) -> int:
    if "SET" not in upper:
        return 0
    depth, count = 0, 0
    for word in upper[upper.index("SET") + 1 :]:
        depth += (word == "(") - (word == ")")
        if word in {"WHERE", "FROM", "RETURNING"} and depth == 0:
            break
        count += word == "=" and depth == 0
    return count


def _named(target: str) -> Part:
    return value(target) if target else fact("a table that is not named")


def _one(one: Statement) -> list[Part]:
    rows = fact("the rows that match a condition") if one.limited else fact("every row")
    match one.verb:
        case "UPDATE":
            columns = [fact(counted(one.columns, "column")), glue(" in ")] if one.columns else []
            return [glue("Change "), *columns, rows, glue(" of "), _named(one.target)]
        case "DELETE":
            return [glue("Delete "), rows, glue(" of "), _named(one.target)]
        case "TRUNCATE":
            return [glue("Empty "), fact("the whole table"), glue(" "), _named(one.target)]
        case "INSERT":
            return [glue("Add rows to "), _named(one.target)]
        case "SELECT":
            return [glue("Read from "), _named(one.target)]
        case "ALTER" | "DROP" | "CREATE" if one.target:
            done = {"ALTER": "Change the structure of ", "DROP": "Drop ", "CREATE": "Create "}[one.verb]
            return [glue(done), value(one.target)]
    return [glue("Run "), fact("1 SQL statement"), glue(", "), value(one.verb)]


def _many(acting: Sequence[Statement]) -> list[Part]:
    verbs = list(dict.fromkeys(one.verb for one in acting))
    targets = list(dict.fromkeys(one.target for one in acting if one.target))
    said = verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])} and {verbs[-1]}"
    parts = [glue("Run "), fact(counted(len(acting), "SQL statement")), glue(", "), value(said)]
    if len(targets) == 1:
        return [*parts, glue(", about "), value(targets[0])]
    return [*parts, glue(", about "), fact(counted(len(targets), "table"))] if targets else parts
