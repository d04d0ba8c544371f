"""What an interrupt's responseSchema asks for, and whether a payload fits it. A stranger's: all has a limit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from streams import jsontext

MAX_TEXT: Final = 64 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 5_000  # after references are put in place: no schema may grow without end
COSTLY: Final = frozenset({"pattern", "patternProperties", "format"})  # a hostile expression can run for ever
YES_NAMES: Final = ("approved", "accepted", "confirmed", "approve", "confirm", "allow", "allowed")
YES_WORDS: Final = frozenset({"approved", "approve", "accepted", "accept", "confirmed", "confirm", "yes"})
NO_WORDS: Final = frozenset({"rejected", "reject", "denied", "deny", "refused", "refuse", "declined", "decline", "no"})
REASON_NAMES: Final = ("reason", "feedback", "comment", "rationale", "note")


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer to a question looks.

    approval: an object with a boolean `key`; boolean: true or false alone; open: no (usable) schema, the convention
    holds; answer: something else, which only a person can fill in.
    """

    kind: Literal["approval", "boolean", "open", "answer"]
    key: str = "approved"
    reason_key: str = ""
    edits: bool = False
    schema: Mapping[str, Any] | None = None  # checked, without references; None: there is none to validate against
    yes: str = ""  # of the texts to choose from the one that approves, and the one that refuses; empty: not certain
    no: str = ""


def read(text: str) -> Form:
    """The form that a schema asks for; a schema that is invalid or too large blocks no plain yes or no."""
    try:
        schema = _usable(text) if text else None
    except (ValueError, LookupError, SchemaError, RecursionError):
        schema = None
    if schema is None:
        return Form("open")
    if schema.get("type") == "boolean":
        return Form("boolean", schema=schema)
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    for key in YES_NAMES:
        if _is_boolean(properties.get(key)) and not misfit(schema, {key: True}) and not misfit(schema, {key: False}):
            return Form("approval", key, _reason_key(properties), _is_object(properties.get("editedArgs")), schema)
    if not misfit(schema, {"approved": True}) and not properties:
        return Form("approval", schema=schema)  # any object will do
    return Form("answer", schema=schema, yes=_option(schema, YES_WORDS), no=_option(schema, NO_WORDS))


def kinds(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The decisions that a schema takes, where it lists them by their `type`; empty where it does not."""
    found = [
        option.get("properties", {}).get("type", {}).get("const")
        for option in _list((schema or {}).get("oneOf") or (schema or {}).get("anyOf"))
        if isinstance(option, dict)
        and isinstance(option.get("properties"), dict)
        and isinstance(option["properties"].get("type"), dict)
    ]
    return tuple(kind for kind in found if isinstance(kind, str))


def _option(schema: Mapping[str, Any], words: frozenset[str]) -> str:
    """The one text to choose that is among these words; empty where none is, or more than one."""
    found = [option for option in _list(schema.get("enum")) if isinstance(option, str) and option.lower() in words]
    return found[0] if len(found) == 1 and schema.get("type") == "string" else ""


def misfit(schema: Mapping[str, Any] | None, payload: Any) -> str:
    """Why a payload does not fit; empty where it does or there is nothing to fit."""
    if schema is None:
        return ""
    try:
        error = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(payload))
    except (Unresolvable, RecursionError, ValueError, TypeError, ArithmeticError) as exc:
        return f"cannot be checked: {type(exc).__name__}"
    return "" if error is None else error.message[:300]


def _usable(text: str) -> Mapping[str, Any]:
    """The schema as an object to validate with. Raises for whatever could reach out, run long or is no schema."""
    if len(text) > MAX_TEXT:
        raise ValueError("too large")
    schema = jsontext.strict(text)
    if not isinstance(schema, dict):
        raise ValueError("not an object")
    made = _Inliner(schema).inline(schema, 0)
    if not isinstance(made, dict):
        raise ValueError("not an object")
    for key in ("$schema", "$id", "$defs", "definitions"):
        made.pop(key, None)
    Draft202012Validator.check_schema(made)
    return made


class _Inliner:
    """Puts local references in place, so that validating costs what the schema shows. Nothing is fetched."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root, self._left = root, MAX_NODES

    def inline(self, node: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise ValueError("too large or too deep")
        if isinstance(node, list):
            return [self.inline(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        if "$dynamicRef" in node or "$recursiveRef" in node:
            raise ValueError("a dynamic reference")
        if "$ref" in node:
            others = {key: value for key, value in node.items() if key != "$ref"}
            target = self.inline(self._target(node["$ref"]), depth + 1)
            return {"allOf": [target, self.inline(others, depth + 1)]} if others else target
        return {
            key: self.inline(value, depth + 1)
            for key, value in node.items()
            if key not in COSTLY and key not in ("$defs", "definitions")
        }

    def _target(self, ref: Any) -> Any:
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise ValueError("a reference that leads out of the schema")
        found: Any = self._root
        for part in ref[2:].split("/"):
            if not isinstance(found, dict):
                raise LookupError(ref)
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return found


def _is_boolean(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "boolean"


def _is_object(schema: Any) -> bool:
    """Whether edited arguments are an object: a nullable one counts."""
    if not isinstance(schema, dict):
        return False
    kinds = [
        schema.get("type"),
        *(option.get("type") for option in schema.get("anyOf", []) if isinstance(option, dict)),
    ]
    return "object" in kinds or schema == {} or (isinstance(kinds[0], list) and "object" in kinds[0])


def _reason_key(properties: Mapping[str, Any]) -> str:
    for key in REASON_NAMES:
        schema = properties.get(key)
        if isinstance(schema, dict) and ("type" not in schema or "string" in (schema["type"], *_list(schema["type"]))):
            return key
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def text_of(schema: Any) -> str:
    """A schema as text for screen and checkpoint; empty where it is too large to be either."""
    try:
        spelled = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return ""
    return spelled if len(spelled) <= MAX_TEXT else ""
