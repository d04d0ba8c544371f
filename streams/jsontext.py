"""JSON as text: parse what a provider sent, name what is wrong with it, cut a value out of it, compare spellings."""

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from json.decoder import scanstring  # type: ignore[attr-defined]  # public, though typeshed leaves it out
from typing import Any

import orjson

MAX_DEPTH = 100
MAX_DIGITS = 308  # a longer whole number may be no double: other parsers round or refuse it
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# A string (perhaps without its end), an opening or a closing bracket. Possessive and without a failing branch: linear.
STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
SPACE = re.compile(r"[ \t\n\r]*")
LONG_NUMBER = re.compile(r"[0-9]{16}")


class Unreadable(ValueError):
    """Not a JSON text that every parser reads alike; the message names the first problem."""


def parse(raw: str) -> Any:
    """JSON from a provider. Raises ValueError for anything unparsable, too deep or not representable."""
    try:
        return json.loads(raw, parse_constant=_refuse_constant, parse_int=_whole, parse_float=_finite)
    except RecursionError as exc:
        raise Unreadable("nested too deeply") from exc


def quick(raw: str) -> Any:
    """As parse(), at several times the speed where nothing is odd. Whole numbers past 64 bits become floats."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return parse(raw)  # lone surrogates are JSON, though orjson refuses them


def lenient(raw: str) -> Any:
    """JSON in which NaN, Infinity and endless numbers are let through, to find out what a broken frame was about.

    Raises ValueError. Nothing that only this function can read may be sent back or approved.
    """
    try:
        return json.loads(raw, parse_int=lambda digits: int(digits) if len(digits) <= MAX_DIGITS else math.inf)
    except RecursionError as exc:
        raise Unreadable("nested too deeply") from exc


def problem(raw: str) -> str:
    """Why a text is not JSON that every parser reads alike; empty if it is.

    Not JSON, duplicate keys, NaN or Infinity, numbers beyond a double, nesting over 100, NUL, half a character.
    """
    try:
        strict(raw)
    except ValueError as exc:
        return str(exc)
    return ""


def strict(raw: str) -> Any:
    """Parse a text of which problem() is empty; else raise Unreadable that names the problem."""
    if depth(raw) > MAX_DEPTH:
        raise Unreadable(f"nested more than {MAX_DEPTH} deep")
    if UNSTORABLE.search(raw):
        raise Unreadable("holds a NUL or half a character (a lone surrogate)")
    try:
        value = json.loads(
            raw,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
            object_pairs_hook=_no_duplicates,
        )
    except Unreadable:
        raise
    except (ValueError, RecursionError) as exc:
        raise Unreadable(f"not JSON: {exc}") from exc
    if "\\u" in raw and _unstorable_inside(value):
        raise Unreadable("holds a NUL or half a character (a lone surrogate)")
    return value


def depth(raw: str) -> int:
    """The deepest nesting of a text, counted without parsing it (so that no parser can run out of stack)."""
    if raw.count("[") + raw.count("{") <= MAX_DEPTH:
        return 0  # cannot be too deep: nobody asks further
    deepest = level = 0
    for found in STRUCTURE.finditer(raw):
        if found[0] in "[{":
            level += 1
            deepest = max(deepest, level)
        elif found[0] in "]}":
            level -= 1
    return deepest


def too_deep(value: Any) -> bool:
    """Whether a parsed value is nested more than 100 deep; level by level, so that no stack is needed."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def canonical(raw: str) -> str:
    """One spelling for all spellings of the same JSON: keys sorted, no spaces, ASCII, decimals by value.

    Text that is not JSON is its own spelling. 1 and 1.0 stay apart (a tool may tell them apart); duplicate keys are
    kept, so that none of them can hide.
    """
    if depth(raw) > MAX_DEPTH:
        return raw
    try:
        value = json.loads(
            raw,
            parse_constant=_refuse_constant,
            parse_int=lambda digits: (
                f"\0i{digits}"
            ),  # as text: exact, and no limit on digits; no JSON text says NUL + i by itself
            parse_float=_decimal,
            object_pairs_hook=_keeping_duplicates,
        )
        return json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return raw


def has_long_number(raw: str) -> bool:
    """Whether a text may hold a whole number that quick() would round."""
    return LONG_NUMBER.search(raw) is not None


def dumps(value: Any) -> str:
    """Compact JSON, ASCII only: it survives every store, lone surrogates included. Raises ValueError."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except RecursionError as exc:
        raise Unreadable("nested too deeply") from exc


def raw_slice(raw: str, path: Sequence[str | int]) -> str:
    """The value at a path of keys and indexes, exactly as it is spelled; of duplicate keys the last, as parsers do.

    Raises LookupError where there is none and ValueError where the text is not JSON.
    """
    try:
        start, end = _skip(raw, 0), len(raw)
        for step in path:
            start, end = _member(raw, start, step)
        if not path:
            end = _end_of(raw, start)
    except RecursionError as exc:
        raise Unreadable("nested too deeply") from exc
    return raw[start:end]


def raw_items(raw: str) -> list[str]:
    """The elements of an array, each exactly as it is spelled. Raises ValueError where the text is not one."""
    items: list[str] = []
    index = _skip(raw, 0)
    if raw[index : index + 1] != "[":
        raise Unreadable("not JSON: not an array")
    index = _skip(raw, index + 1)
    try:
        while raw[index : index + 1] != "]":
            end = _end_of(raw, index)
            items.append(raw[index:end])
            index = _skip(raw, end)
            if raw[index : index + 1] == ",":
                index = _skip(raw, index + 1)
            elif raw[index : index + 1] != "]":
                raise Unreadable("not JSON: a comma or an end is missing")
    except RecursionError as exc:
        raise Unreadable("nested too deeply") from exc
    return items


_scan = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode


def _end_of(raw: str, start: int) -> int:
    return _scan(raw, start)[1]


def _skip(raw: str, index: int) -> int:
    found = SPACE.match(raw, index)
    return found.end() if found else index


def _member(raw: str, start: int, step: str | int) -> tuple[int, int]:
    """Offsets of a member of the object, or of an element of the array, that begins at `start`."""
    opening = raw[start : start + 1]
    if opening != ("{" if isinstance(step, str) else "["):
        raise LookupError(step)
    found: tuple[int, int] | None = None
    index, position = _skip(raw, start + 1), 0
    while raw[index : index + 1] not in ("}", "]", ""):
        here: str | int = position
        if opening == "{":
            here, index = _key(raw, index)
        end = _end_of(raw, index)
        if here == step:
            found = index, end
        index, position = _skip(raw, end), position + 1
        if raw[index : index + 1] == ",":
            index = _skip(raw, index + 1)
        elif raw[index : index + 1] not in ("}", "]"):
            raise Unreadable("not JSON: a comma or an end is missing")
    if found is None:
        raise LookupError(step)
    return found


def _key(raw: str, index: int) -> tuple[str, int]:
    if raw[index] != '"':
        raise Unreadable("not JSON: a key is missing")
    key, index = scanstring(raw, index + 1, True)
    index = _skip(raw, index)
    if raw[index : index + 1] != ":":
        raise Unreadable("not JSON: a colon is missing")
    return key, _skip(raw, index + 1)


def _refuse_constant(name: str) -> Any:
    raise Unreadable(f"{name} is not JSON")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Unreadable(f"holds a number of {len(digits)} digits")
    return int(digits)


def _finite(spelled: str) -> float:
    number = float(spelled)
    if math.isinf(number):
        raise Unreadable(f"holds a number that is too large ({spelled[:40]})")
    return number


def _decimal(spelled: str) -> str:
    try:
        sign, digits, exponent = Decimal(spelled).as_tuple()  # exact: normalize() would round to 28 digits
    except ArithmeticError:  # an exponent beyond Decimal's own
        return f"\0f{spelled}"
    if not isinstance(exponent, int):
        return f"\0f{spelled}"
    kept = "".join(map(str, digits)).rstrip("0")
    return f"\0f{sign}{kept}e{exponent + len(digits) - len(kept) if kept else 0}"


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        counted = Counter(key for key, _ in pairs)
        raise Unreadable(f"the key {json.dumps(counted.most_common(1)[0][0][:60])} comes twice")
    return made


def _keeping_duplicates(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    return made if len(made) == len(pairs) else {"\0pairs": [[key, value] for key, value in pairs]}


def _unstorable_inside(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if UNSTORABLE.search(item):
                return True
        elif isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return False
