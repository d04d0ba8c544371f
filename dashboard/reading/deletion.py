"""Deletion: what, and how much of it."""

from collections.abc import Mapping
from typing import Any

from dashboard.reading.sentence import Reading, counted, fact, first, glue, number, value, words
from dashboard.values import Number

VERBS = {"delete", "remove", "destroy", "purge", "erase", "wipe", "drop"}
NOUNS = {
    "account": "accounts", "bucket": "buckets", "branch": "branches", "contact": "contacts", "customer": "customers",
    "document": "documents", "email": "e-mails", "event": "events", "file": "files", "folder": "folders",
    "image": "images", "key": "keys", "message": "messages", "order": "orders", "project": "projects",
    "record": "records", "repository": "repositories", "row": "rows", "server": "servers", "table": "tables",
    "token": "tokens", "user": "users", "volume": "volumes", "workspace": "workspaces",
}  # fmt: skip
ID = ("id", "name", "path", "key", "slug", "email")


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """A deletion says so by its verb, and names a thing that we have a word for."""
    named = words(tool)
    singular = {many.replace("-", ""): one for one, many in NOUNS.items()} | {one: one for one in NOUNS}
    noun = next((singular[word] for word in sorted(named) if word in singular), "")
    if not (named & VERBS and noun):
        return None
    name, how_many = first(arguments, (NOUNS[noun], "count", "number", f"{noun}_count"))
    count = number(how_many) if isinstance(how_many, Number) else None
    items = how_many if isinstance(how_many, list) else None
    id_name, what = first(arguments, (noun, f"{noun}_id", *ID))
    owner_name, owner = first(arguments, tuple(other for other in NOUNS if other != noun))
    if count is not None and count == count.to_integral_value() and count >= 0:
        parts = [glue("Delete "), fact(counted(int(count), noun, NOUNS[noun]))]
    elif items is not None:
        parts = [glue("Delete "), fact(counted(len(items), noun, NOUNS[noun]))]
    elif isinstance(what, str):
        parts = [glue("Delete "), fact(f"1 {noun}"), glue(", "), value(what)]
        name, owner_name = id_name, ""
    else:
        parts = [glue("Delete "), fact(NOUNS[noun]), glue(", count not known")]
    if owner_name and isinstance(owner, str):
        parts += [glue(f" of {next(noun for noun in NOUNS if noun == owner_name.lower())} "), value(owner)]
    lead = tuple(found for found in (name, owner_name) if found)
    return Reading(
        "deletion",
        (*parts, glue(".")),
        "Can be put back only where a copy is kept; this system knows of none.",
        lead=lead,
    )
