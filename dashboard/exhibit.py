"""A call's arguments as a reviewer reads them: rows of a typed tree, numbered code, a mail's text. Pure.

Long values are cut to head and tail; `cut` says how many, and nothing may be approved before all were opened.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dashboard import hidden, values
from dashboard.reading import Reading, sql
from dashboard.values import Number

VALUE_MAX = 4_000  # characters of one value
HEAD, TAIL = 1_200, 400
NAME_MAX = 200  # of an argument's name
ROWS_MAX = 300
ROWS_OPENED = 2_000  # rows when everything is opened; beyond them the exact text follows, which has them all
LINES_OPENED = 5_000  # lines with a number of their own; the rest stands in one piece
CODE_MAX = 40_000  # characters of code that are told apart word by word
TEXT_MAX = 16_000  # characters of a text that cannot be taken apart
DEEP = 10  # levels that are set in further and further

Kind = Literal["text", "number", "word", "empty", "branch", "mail", "sql", "shell"]
_WORDS = """
ADD ALTER AND AS BEGIN BY CASCADE COLUMN COMMIT CONCURRENTLY CREATE DATABASE DELETE DISTINCT DROP EXISTS FROM
GRANT GROUP HAVING IF IN INDEX INNER INSERT INTO IS JOIN LEFT LIMIT NOT NOW NULL ON OR ORDER OUTER REVOKE
RIGHT ROLLBACK SELECT SET TABLE TO TRUNCATE UNION UNIQUE UPDATE USING VALUES WHERE WITH
"""
KEYWORDS = frozenset(_WORDS.split())
SHELL_TOKEN = re.compile(r"(?P<text>'[^']*'|\"(?:[^\"\\]|\\.)*\")|(?P<comment>(?<!\S)#[^\n]*)|(?P<word>[|&;<>]+)")


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of code and what it is: key word, text, comment or nothing of these."""

    text: str
    style: Literal["", "k", "str", "cm"] = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One argument, or one member of an argument."""

    name: str
    kind: Kind
    text: str = ""
    depth: int = 0
    tail: str = ""  # the end of a cut value
    missing: int = 0  # characters between head and tail
    sha256: str = ""  # of the whole value, where it is cut
    code: tuple[tuple[Token, ...], ...] = ()
    label: str = ""  # our name for a row that a reading put first

    @property
    def indent(self) -> int:
        return min(self.depth, DEEP)


@dataclass(frozen=True, slots=True)
class Remark:
    """Our words about an argument, which stand outside the agent's frame."""

    level: Literal["look", "stop"]
    where: str  # ours: "argument 3"
    text: str


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Everything that is shown of a call's arguments."""

    rows: tuple[Row, ...] = ()
    exact: bool = False  # it could not be taken apart: only the exact text is shown
    amount: str = ""
    arguments: int = 0
    size_bytes: int = 0
    cut: int = 0  # values or rows that are not shown in full
    left_out: int = 0  # rows beyond the first
    rest: str = ""  # the whole text, where everything is opened and there are more rows than a page can take
    dense: bool = False  # so much hides in it that all of it is spelled out
    remarks: tuple[Remark, ...] = ()


@dataclass(slots=True)
class _Making:
    everything: bool
    rows: list[Row] = field(default_factory=list)
    cut: int = 0
    left_out: int = 0


LABELS = {
    "to": "To", "recipient": "To", "recipients": "To", "cc": "Cc", "bcc": "Bcc", "attachments": "File",
    "attachment": "File", "file": "File", "files": "Files", "subject": "Subject", "order": "Order", "order_id": "Order",
    "customer": "Customer", "invoice": "Invoice", "host": "Host", "database": "Database", "account": "Account",
}  # fmt: skip


def build(arguments: str, reading: Reading, *, everything: bool = False) -> Exhibit:
    """The exhibit of an arguments text; `everything`: nothing is cut."""
    size = len(arguments.encode("utf-8", "surrogatepass"))
    try:
        given = values.load(arguments)
    except ValueError:
        cut = 0 if everything or len(arguments) <= TEXT_MAX else 1
        return Exhibit(exact=True, size_bytes=size, cut=cut, dense=hidden.dense(arguments))
    making = _Making(everything)
    named = given if isinstance(given, dict) else {"": given}
    order = [*(name for name in reading.lead if name in named), *(name for name in named if name not in reading.lead)]
    numbers = {name: index for index, name in enumerate(named, start=1)}
    for name in order:
        _add(making, name, named[name], 0, reading)
    remarks = [remark for name in order for remark in _remarks(numbers[name], named[name])]
    rest = arguments if everything and making.left_out else ""
    return Exhibit(
        rows=tuple(making.rows),
        amount=reading.amount,
        arguments=len(named) if isinstance(given, dict) else 1,
        size_bytes=size,
        cut=making.cut + (1 if making.left_out and not rest else 0),
        left_out=making.left_out,
        rest=rest,
        dense=hidden.dense("\n".join(f"{row.name}\n{row.text}\n{row.tail}" for row in making.rows)),
        remarks=tuple(remarks[:12]),
    )


def excerpt(text: str, *, everything: bool) -> tuple[str, str, int]:
    """Head, tail and the number of characters between; the whole text and nothing where it is short enough."""
    if everything or len(text) <= VALUE_MAX:
        return text, "", 0
    return text[:HEAD], text[-TAIL:], len(text) - HEAD - TAIL


def exact(arguments: str, *, everything: bool = True) -> list[str]:
    """The exact text in its lines, for the numbered view; the last of very many holds all that follow."""
    shown = arguments if everything or len(arguments) <= TEXT_MAX else arguments[:TEXT_MAX]
    return shown.split("\n", LINES_OPENED)


def _add(making: _Making, name: str, item: Any, depth: int, reading: Reading) -> None:
    waiting: list[tuple[str, Any, int]] = [(name, item, depth)]
    while waiting:
        key, found, level = waiting.pop()
        if len(making.rows) >= (ROWS_OPENED if making.everything else ROWS_MAX):
            making.left_out += 1
            continue
        making.cut += len(key) > NAME_MAX and not making.everything
        members: Sequence[tuple[str, Any]] = ()
        if isinstance(found, dict) and found:
            members = list(found.items())
        elif isinstance(found, list) and found:
            members = [(f"{index}.", member) for index, member in enumerate(found, start=1)]
        if members and not (depth == level == 0 and _flat(found)):
            making.rows.append(Row(key, "branch", f"{len(members)}", level))
            waiting += [(inner, member, level + 1) for inner, member in reversed(members)]
            continue
        row = _leaf(key, found, level, reading if level == 0 else None, everything=making.everything)
        making.cut += bool(row.missing)
        making.rows.append(row)


def _flat(found: Any) -> bool:
    """A short list of short texts fits on one line."""
    return isinstance(found, list) and len(found) <= 6 and all(isinstance(one, str) and len(one) <= 60 for one in found)


def _leaf(name: str, found: Any, depth: int, reading: Reading | None, *, everything: bool) -> Row:
    leading = reading is not None and name in reading.lead
    label = LABELS.get(name.lower(), "") if leading else ""
    if isinstance(found, Number):
        return Row(name, "number", str(found), depth, label=label)
    if found is None or isinstance(found, bool):
        return Row(name, "word", {None: "null", True: "true", False: "false"}[found], depth, label=label)
    if isinstance(found, dict | list) and not found:
        return Row(name, "empty", "no members" if isinstance(found, dict) else "nothing", depth, label=label)
    text = ", ".join(str(one) for one in found) if isinstance(found, list) else str(found)
    if not text:
        return Row(name, "empty", "empty text", depth, label=label)
    head, tail, missing = excerpt(text, everything=everything)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if missing else ""
    kind: Kind = "text"
    code: tuple[tuple[Token, ...], ...] = ()
    if (
        leading
        and reading is not None
        and name == reading.lead[0]
        and reading.kind in ("sql", "shell")
        and len(head) <= CODE_MAX
    ):
        kind = "sql" if reading.kind == "sql" else "shell"
        code = lines_of_code(head, kind)
    elif leading and reading is not None and reading.kind == "mail" and name == reading.lead[-1] and not label:
        kind = "mail"
    return Row(name, kind, head, depth, tail=tail, missing=missing, sha256=digest, code=code, label=label)


def lines_of_code(text: str, kind: str) -> tuple[tuple[Token, ...], ...]:
    """Code in lines of tokens; every character of the text is in one of them."""
    lines: list[list[Token]] = [[]]
    for token in _sql_tokens(text) if kind == "sql" else _shell_tokens(text):
        for index, part in enumerate(token.text.split("\n")):
            if index:
                lines.append([])
            if part:
                lines[-1].append(Token(part, token.style))
    return tuple(tuple(line) for line in lines)


def _sql_tokens(text: str) -> Iterator[Token]:
    end = 0
    for found in sql.TOKEN.finditer(text):
        style: Literal["", "k", "str", "cm"] = ""
        if found["comment"]:
            style = "cm"
        elif found["text"] is not None:
            style = "str"
        elif found[0].upper() in KEYWORDS:
            style = "k"
        if not style:
            continue
        yield Token(text[end : found.start()])
        yield Token(found[0], style)
        end = found.end()
    yield Token(text[end:])


def _shell_tokens(text: str) -> Iterator[Token]:
    end = 0
    for found in SHELL_TOKEN.finditer(text):
        yield Token(text[end : found.start()])
        yield Token(found[0], "str" if found["text"] is not None else "cm" if found["comment"] else "k")
        end = found.end()
    yield Token(text[end:])


def _remarks(number: int, found: Any) -> Iterator[Remark]:
    where = f"argument {number}"
    texts = list(_texts(found))
    counts = [hidden.count(text) for text in texts]
    concealed, alike = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if concealed:
        yield Remark("look", where, f"{concealed} hidden character{'s' if concealed > 1 else ''}")
    if alike:
        yield Remark("look", where, f"{alike} letter{'s' if alike > 1 else ''} of another script")
    if any(hidden.padded(text) for text in texts):
        yield Remark("look", where, "blanks push text out of sight")


def _texts(found: Any) -> Iterator[str]:
    waiting = [found]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and not isinstance(item, Number):
            yield item
        elif isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
