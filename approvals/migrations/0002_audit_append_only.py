"""Audit entries are append-only: the database itself refuses UPDATE and DELETE."""

from django.db import migrations

SQLITE = (
    """
    CREATE TRIGGER audit_no_update BEFORE UPDATE ON approvals_auditentry
    BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END
    """,
    """
    CREATE TRIGGER audit_no_delete BEFORE DELETE ON approvals_auditentry
    BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END
    """,
)
POSTGRESQL = (
    """
    CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'audit entries are append-only'; END $$
    """,
    """
    CREATE TRIGGER audit_no_update BEFORE UPDATE OR DELETE ON approvals_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_refuse()
    """,
    """
    CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON approvals_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()
    """,
)
UNDO = {
    "sqlite": ("DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete"),
    "postgresql": (
        "DROP TRIGGER audit_no_update ON approvals_auditentry",
        "DROP TRIGGER audit_no_truncate ON approvals_auditentry",
        "DROP FUNCTION audit_refuse()",
    ),
}


def forwards(apps, schema_editor):
    statements = {"sqlite": SQLITE, "postgresql": POSTGRESQL}[schema_editor.connection.vendor]
    for statement in statements:
        schema_editor.execute(statement)
    head = apps.get_model("approvals", "AuditHead")
    head.objects.get_or_create(id=1, defaults={"seq": 0, "hash": "0" * 64})


def backwards(apps, schema_editor):
    for statement in UNDO[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("approvals", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
