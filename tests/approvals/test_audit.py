"""The audit chain: one line of entries, and every way of tampering with it is found and named."""

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from approvals import audit
from approvals.errors import ChainBroken
from approvals.models import AuditEntry, AuditHead
from tests.audit_triggers import lifted

pytestmark = pytest.mark.django_db


def write(count: int) -> None:
    for number in range(count):
        audit.append(action="test.done", actor="ada", target=f"request:{number}", origin="page", data={"n": number})


@pytest.fixture
def tampering() -> Iterator[None]:
    """The triggers are away, as for somebody with the rights of the database's owner."""
    write(10)
    assert audit.verify().bad is None
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE approvals_auditentry DISABLE TRIGGER USER")
        else:
            cursor.execute("DROP TRIGGER audit_no_update")
            cursor.execute("DROP TRIGGER audit_no_delete")
    yield


def bad() -> audit.Bad:
    found = audit.verify().bad
    assert found is not None
    return found


def test_an_empty_chain_and_a_grown_one_verify() -> None:
    assert audit.verify() == audit.Verified(0, audit.START)
    write(3)
    head = AuditHead.objects.get()
    assert audit.verify() == audit.Verified(3, head.hash)
    assert head.seq == 3


def test_entries_are_appended_in_one_go() -> None:
    rows = audit.append_all([audit.Entry("a", "request:1"), audit.Entry("b", "request:2", data={"x": None})])
    assert [row.seq for row in rows] == [1, 2]
    assert rows[1].previous == rows[0].hash
    assert audit.verify().bad is None
    assert audit.append_all([]) == []


def test_the_format_is_the_one_that_is_written_down() -> None:
    import hashlib

    row = audit.append(action="a.b", actor="ada", target="request:1", origin="page", data={"b": 1, "a": "é"})
    row.refresh_from_db()
    sealed = [1, 1, "0" * 64, row.at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "ada", "a.b", "request:1", "page", row.data]
    text = json.dumps(sealed, separators=(",", ":"), ensure_ascii=True)
    assert row.data == '{"a":"\\u00e9","b":1}'
    assert row.hash == hashlib.sha256(text.encode()).hexdigest()


def test_hostile_text_is_kept_storable() -> None:
    audit.append(action="a", actor="\x00\ud800" * 200, target="t" * 500, data={"x": "\x00\ud800"})
    assert audit.verify().bad is None


@pytest.mark.parametrize(
    "change",
    ["actor = 'eve'", "action = 'x'", "target = 'x'", "origin = 'x'", "data = '{}'", "format = 2", "at = '2020-01-01'"],
)
def test_a_changed_field_is_found(tampering: None, change: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE approvals_auditentry SET {change} WHERE seq = 4")
    assert bad().seq == 4


def test_a_changed_entry_with_a_new_hash_is_found_at_the_next_one(tampering: None) -> None:
    row = AuditEntry.objects.get(seq=4)
    row.actor = "eve"
    row.hash = audit.seal(
        (row.format, row.seq, row.previous, row.at, row.actor, row.action, row.target, row.origin, row.data)
    )
    AuditEntry.objects.filter(seq=4).update(actor=row.actor, hash=row.hash)
    assert bad().seq == 5


def test_a_deleted_entry_is_found(tampering: None) -> None:
    AuditEntry.objects.filter(seq=7).delete()
    assert bad() == audit.Bad(7, "missing")


def test_an_inserted_entry_is_found(tampering: None) -> None:
    row = AuditEntry.objects.get(seq=4)
    AuditEntry.objects.filter(seq__gte=5).delete()
    row.seq, row.hash, row.previous = 5, "f" * 64, row.hash
    row.save(force_insert=True)
    assert bad().seq == 5
    row.seq, row.hash = 0, "e" * 64
    row.save(force_insert=True)
    assert "no place" in bad().why


def test_swapped_entries_are_found(tampering: None) -> None:
    AuditEntry.objects.filter(seq=3).update(seq=99)
    AuditEntry.objects.filter(seq=4).update(seq=3)
    AuditEntry.objects.filter(seq=99).update(seq=4)
    assert bad().seq == 3


@pytest.mark.parametrize("kept", [0, 1, 9])
def test_a_truncated_chain_is_found(tampering: None, kept: int) -> None:
    AuditEntry.objects.filter(seq__gt=kept).delete()
    assert bad().seq == kept + 1


def test_an_entry_behind_the_head_is_found(tampering: None) -> None:
    AuditHead.objects.update(seq=9, hash=AuditEntry.objects.get(seq=9).hash)
    assert bad() == audit.Bad(10, "the head row does not know it")


def test_a_truncated_chain_with_a_rewritten_head_is_found_by_a_kept_head(tampering: None) -> None:
    kept = (10, AuditHead.objects.get().hash)
    AuditEntry.objects.filter(seq__gt=8).delete()
    AuditHead.objects.update(seq=8, hash=AuditEntry.objects.get(seq=8).hash)
    assert audit.verify().bad is None
    assert audit.verify(kept=kept).bad == audit.Bad(9, "missing, and everything up to 10 with it")
    write(5)
    found = audit.verify(kept=kept).bad
    assert found is not None
    assert found.seq == 10


def test_a_missing_head_stops_everything(tampering: None) -> None:
    AuditHead.objects.all().delete()
    assert "head row is missing" in bad().why
    with pytest.raises(ChainBroken):
        audit.append(action="a", actor="b", target="c")


@pytest.mark.parametrize(
    "statement", ["UPDATE approvals_auditentry SET actor = 'eve'", "DELETE FROM approvals_auditentry"]
)
def test_the_database_itself_refuses_changes(statement: str) -> None:
    write(1)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert audit.verify().bad is None


def test_the_command_says_ok_and_prints_the_head() -> None:
    write(2)
    out = StringIO()
    call_command("audit", "verify", stdout=out)
    head = AuditHead.objects.get()
    assert out.getvalue().strip() == f"ok: 2 entries, head 2:{head.hash}"
    call_command("audit", "verify", "--head", f"2:{head.hash}", stdout=out)


def test_the_command_names_the_first_bad_row(tampering: None) -> None:
    AuditEntry.objects.filter(seq__in=[3, 5]).delete()
    out = StringIO()
    with pytest.raises(CommandError, match="audit entry 3: missing") as caught:
        call_command("audit", "verify", "--json", stdout=out)
    assert caught.value.returncode == 1
    assert json.loads(out.getvalue()) == {
        "ok": False,
        "seq": 2,
        "hash": AuditEntry.objects.get(seq=2).hash,
        "bad": {"seq": 3, "why": "missing"},
    }


def test_verifying_keeps_memory_flat() -> None:
    import tracemalloc

    audit.append_all([audit.Entry("a", f"request:{n}", data={"n": n}) for n in range(6_000)])
    tracemalloc.start()
    assert audit.verify().bad is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 1024 * 1024


def test_the_triggers_come_back_after_a_flush(transactional_db: None) -> None:
    with lifted():
        pass
    write(1)
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("DELETE FROM approvals_auditentry")
