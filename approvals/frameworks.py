"""AG-UI: an account without a framework is set to the one that its first pause shows; a later, other one is told."""

from collections.abc import Sequence
from uuid import UUID

from approvals.audit import Record
from streams import dialects
from streams.events import Clash, Recognised
from streams.journal import Remark, Stored
from streams.models import Provider

RECOGNISED = "This pause has the form of {seen}. The account is set to it from now on; its settings can change that."
CLASH = (
    "This pause has the form of {seen}, and the account is set to {pinned}. So it can be read here and not answered. "
    "If another server answers at this address now, change the framework in the account's settings."
)
OTHER = (
    "This pause has the form of {seen}, and the account has been set to {pinned} since this run began. The account was "
    "not changed: look which of them is right."
)
TELLING = (Recognised, Clash)


def tell(stored: Sequence[Stored], record: Record) -> list[Remark]:
    """Pin what is recognised and tell what differs. Takes locks on accounts: before those on requests."""
    remarks = []
    for one in stored:
        for fact in one.facts:
            if isinstance(fact, Recognised):
                remarks += _recognised(one, fact.dialect, record)
            elif isinstance(fact, Clash):
                remarks.append(_differs(one, fact.dialect, fact.pinned, CLASH, record))
    return remarks


def _recognised(one: Stored, seen: str, record: Record) -> list[Remark]:
    account = Provider.objects.filter(runs=one.run_id).only("pk", "name", "dialect").get()
    if not account.dialect and Provider.objects.filter(pk=account.pk, dialect="").update(dialect=seen):
        record.note("provider.dialect_recognised", _target(account.pk), **_facts(one, account.name, seen))
        return [Remark(one.run_id, "dialect", RECOGNISED.format(seen=seen))]
    pinned = account.dialect or Provider.objects.values_list("dialect", flat=True).get(pk=account.pk)
    known = dialects.known(pinned)
    if known is None or known is dialects.PLAIN or known.framework == seen:
        return []
    return [_differs(one, seen, pinned, OTHER, record)]


def _differs(one: Stored, seen: str, pinned: str, text: str, record: Record) -> Remark:
    account = Provider.objects.filter(runs=one.run_id).only("pk", "name").get()
    record.note("provider.dialect_differs", _target(account.pk), **_facts(one, account.name, pinned), seen=seen)
    return Remark(one.run_id, "other_dialect", text.format(seen=seen, pinned=pinned))


def _target(account_id: UUID) -> str:
    return f"provider:{account_id}"


def _facts(one: Stored, name: str, dialect: str) -> dict[str, object]:
    return {"name": name, "dialect": dialect, "run": str(one.run_id), "seq": one.seq}
