"""RFC 6902 on a value that a provider evolves: atomic, on a copy, within limits."""

import copy
import re
from collections.abc import Mapping
from typing import Any

import jsonpatch
import jsonpointer
import orjson

from streams import jsontext

MAX_OPERATIONS = 10_000
MAX_SIZE = 16 * 1024 * 1024  # characters of the value as JSON; `copy` can double it with every operation
POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")
FAILURES = (  # whatever the two libraries raise where a patch does not fit
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    jsonpatch.JsonPatchException,
    jsonpointer.JsonPointerException,
)
NEEDS: Mapping[str, tuple[str, ...]] = {  # operation -> members besides `path`
    "add": ("value",),
    "remove": (),
    "replace": ("value",),
    "move": ("from",),
    "copy": ("from",),
    "test": ("value",),
}


class MalformedPatch(ValueError):
    """No JSON Patch at all: the sender is broken."""


class PatchFailed(ValueError):
    """A well-formed patch that does not apply here, or grows the value too far; the old value stands."""


def check(patch: object) -> tuple[list[dict[str, Any]], list[str]]:
    """The operations of a patch and the names of unknown ones, which are left out. Raises MalformedPatch."""
    if not isinstance(patch, list):
        raise MalformedPatch("a patch is a list")
    if len(patch) > MAX_OPERATIONS:
        raise MalformedPatch(f"a patch of {len(patch)} operations, {MAX_OPERATIONS} are allowed")
    known, unknown = [], []
    for operation in patch:
        if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
            raise MalformedPatch("an operation is an object with an op")
        op = operation["op"]
        if op not in NEEDS:
            unknown.append(op)
            continue
        if not _is_pointer(operation.get("path")):
            raise MalformedPatch(f"{op}: path is no JSON Pointer")
        for member in NEEDS[op]:
            if member not in operation or (member == "from" and not _is_pointer(operation["from"])):
                raise MalformedPatch(f"{op}: {member} is missing or no JSON Pointer")
        known.append(operation)
    return known, unknown


def apply(value: Any, operations: list[dict[str, Any]]) -> Any:
    """The value after all operations, or PatchFailed and nothing done. `value` itself is never changed."""
    made, size = _copied(value)
    try:
        for operation in operations:
            size += _growth(made, operation)
            if size > MAX_SIZE:
                raise PatchFailed(f"the value grows past {MAX_SIZE} characters")
            made = jsonpatch.JsonPatch([operation]).apply(made, in_place=True)
    except PatchFailed:
        raise
    except FAILURES as exc:
        raise PatchFailed(str(exc)[:200] or type(exc).__name__) from exc
    return made


def _is_pointer(pointer: object) -> bool:
    return isinstance(pointer, str) and POINTER.fullmatch(pointer) is not None


def _copied(value: Any) -> tuple[Any, int]:
    """A deep copy and its size as JSON. orjson is 7 times quicker than deepcopy where it can spell the value."""
    try:
        spelled = orjson.dumps(value)
        return orjson.loads(spelled), len(spelled)
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):  # whole numbers past 64 bits, lone surrogates
        return copy.deepcopy(value), _size(value)


def _growth(value: Any, operation: Mapping[str, Any]) -> int:
    """At most so many characters come in with an operation."""
    if operation["op"] == "copy":
        return _size(jsonpointer.resolve_pointer(value, operation["from"]))
    return _size(operation.get("value")) if operation["op"] in ("add", "replace") else 0


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return len(jsontext.dumps(value))
