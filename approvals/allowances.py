"""Checks of COUNTERSIGN_WEBHOOK_HOSTS: every entry can be read, and none opens the inside of a public site."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.core import checks

from approvals import targets
from approvals.targets import TargetRefused

NAME = "COUNTERSIGN_WEBHOOK_HOSTS"


@checks.register
def readable(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    """An entry that permits nothing is a mistake that nobody would notice."""
    return list(_unreadable())


def _unreadable() -> Iterator[checks.CheckMessage]:
    for entry in settings.WEBHOOK_HOSTS:
        try:
            targets.read_allowance(entry)
        except TargetRefused as exc:
            hint = "Entries are host or host:port, such as receiver.example.org or 10.1.2.3:8080."
            yield checks.Error(f"{NAME}: {entry!r}: {exc}", hint=hint, id="approvals.E001")


@checks.register(deploy=True)
def outside(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    """In production nothing may call this machine itself; a private network may be meant, and is said."""
    return list(_opened())


def _opened() -> Iterator[checks.CheckMessage]:
    for entry in settings.WEBHOOK_HOSTS:
        try:
            host, _ = targets.read_allowance(entry)
        except TargetRefused:
            continue  # said by readable()
        if _is_this_machine(host):
            yield checks.Error(f"{NAME}: {entry!r} lets webhooks call this machine itself", id="approvals.E002")
        elif why := _inside(host):
            words = f"{NAME}: {entry!r} lets webhooks call what the internet cannot reach: {why}"
            yield checks.Warning(words, hint="Keep it only for a receiver of your own network.", id="approvals.W001")


def _inside(host: str) -> str:
    try:
        targets.read(f"https://{f'[{host}]' if ':' in host else host}/", allowed=())
    except TargetRefused as exc:
        return str(exc)
    return ""


def _is_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".localdomain"))
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
