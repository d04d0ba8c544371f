"""Mail: to whom, how many, with what files."""

from collections.abc import Mapping
from typing import Any

from dashboard.reading.sentence import Part, Reading, counted, fact, first, glue, texts, value, words

TO = ("to", "recipients", "recipient", "to_email", "email_to", "to_addresses", "address")
COPY = ("cc", "bcc", "cc_addresses", "bcc_addresses")
FILES = ("attachments", "attachment", "files", "file")
SUBJECT = ("subject", "title")
BODY = ("body", "text", "message", "html", "content", "body_text")
WORDS = {"mail", "email", "emails", "e", "send", "forward", "reply", "message", "notify", "letter"}


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """A mail is something sent to addresses, with a subject or a text."""
    to_name, to = first(arguments, TO)
    subject_name, _ = first(arguments, SUBJECT)
    body_name, _ = first(arguments, BODY)
    addresses = _addresses(to)
    if not (words(tool) & WORDS and addresses and (subject_name or body_name)):
        return None
    copies = [name for name in COPY if first(arguments, (name,))[0]]
    for name in copies:
        addresses += _addresses(first(arguments, (name,))[1])
    files_name, files = first(arguments, FILES)
    attached = texts(files) or ([""] * len(files) if isinstance(files, list) else [])
    parts = [glue("Send "), fact("1 e-mail")]
    if attached:
        parts += [glue(" with "), fact(counted(len(attached), "file"))]
    parts += [glue(" to "), *_whom(addresses), glue(".")]
    lead = [to_name, *(first(arguments, (name,))[0] for name in copies), files_name, subject_name, body_name]
    return Reading("mail", tuple(parts), "Cannot be recalled.", lead=tuple(name for name in lead if name))


def _addresses(found: Any) -> list[str]:
    given = [part.strip() for text in texts(found) for part in text.replace(";", ",").split(",") if part.strip()]
    return given if given and all("@" in address for address in given) else []


def _whom(addresses: list[str]) -> list[Part]:
    unique = list(dict.fromkeys(address.rpartition("<")[2].rstrip("> ") for address in addresses))
    domains = list(dict.fromkeys(address.rpartition("@")[2].casefold() for address in unique))
    made = [fact(counted(len(unique), "address", "addresses")), glue(" at ")]
    if len(domains) == 1:
        return [*made, value(unique[0].rpartition("@")[2])]
    return [*made, fact(counted(len(domains), "domain"))]
