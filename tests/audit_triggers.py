"""Lift the audit triggers, and put the head row of the chain back."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from django.apps import apps
from django.db import connection

migration = import_module("approvals.migrations.0002_audit_append_only")


@contextmanager
def lifted() -> Iterator[None]:
    with connection.schema_editor() as editor:
        migration.backwards(apps, editor)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            migration.forwards(apps, editor)


def audit_head() -> None:
    """The row that the chain begins with, as the migration makes it."""
    apps.get_model("approvals", "AuditHead").objects.get_or_create(id=1, defaults={"seq": 0, "hash": "0" * 64})
