"""Every admin page over many rows: how long each takes, and how much longer with ten times the rows.

`python -m tests.benchmarks.bench_admin [--runs 100000] [--events 100000]` fills a database of its own: SQLite in a
folder that it makes and removes, or the empty one that DATABASE_URL names. One JSON line a page. A page that grows
with the rows (its ratio is above GROWTH) fails; the milliseconds are figures of this machine and fail nothing.
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

GROWTH = 3.0  # ten times the rows may cost this much more
FLOOR_MS = 30.0  # below that a ratio says nothing
ROUNDS = 5
SCANS = ("search", "filter: ")  # these read the table: reported, not judged


def prepare(folder: str) -> None:
    """Settings and tables."""
    os.environ["COUNTERSIGN_DATA_DIR"] = folder
    os.makedirs(os.path.join(folder, "static"))
    os.environ.setdefault("COUNTERSIGN_SECRET_KEY", "only-for-measuring-0123456789abcdefghijklmnopqrstuvwxyz")
    os.environ.setdefault("COUNTERSIGN_FIELD_KEYS", "dGVzdHMtb25seS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0=")
    os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.ALLOWED_HOSTS = ["*"]
    django.setup()
    call_command("migrate", verbosity=0)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def fill(runs: int, events: int) -> None:
    """Runs with three events each, one of them with very many; every second one asks, is answered and audited."""
    from django.utils import timezone

    from approvals.models import ApprovalRequest, AuditEntry, Decision, Delivery, RequestStatus
    from dashboard.models import User
    from streams.models import Event, Provider, Run, RunStatus

    now = timezone.now()
    provider, _ = Provider.objects.get_or_create(name="measured", kind="mindra", base_url="http://127.0.0.1:9")
    user = User.objects.filter(username="boss").first() or User.objects.create_superuser("boss", password=None)
    long, _ = Run.objects.get_or_create(
        provider=provider, external_id="exec_long", defaults={"title": "A long run", "status": RunStatus.STREAMING}
    )
    have = Run.objects.count()
    seq = Event.objects.filter(run=long).count()
    at_seq = AuditEntry.objects.count()
    payload = json.dumps({"type": "chunk", "content": "lorem ipsum " * 25})
    sha256 = digest(payload)

    def event(run: Run, number: int) -> Event:
        house = number % 5_000 == 0
        return Event(
            run=run, seq=number, kind="gap" if house else "chunk", source="house" if house else "provider",
            payload=payload, sha256=sha256, received_at=now,
        )  # fmt: skip

    for start in range(seq + 1, events + 1, 5_000):
        Event.objects.bulk_create(event(long, number) for number in range(start, min(start + 5_000, events + 1)))

    def request(run: Run, number: int, at: int) -> ApprovalRequest:
        return ApprovalRequest(
            run=run, call_id=f"apr_{number}", tool=f"tool_{number % 40}", arguments=payload, input_sha256=sha256,
            canonical_sha256=sha256, opened_by_seq=2, settled_at=now, requested_at=now - timedelta(seconds=number),
            status=RequestStatus.UNKNOWN if at % 500 == 0 else RequestStatus.DELIVERED,
        )  # fmt: skip

    for start in range(have, runs, 2_000):
        made = [
            Run(
                provider=provider, external_id=f"exec_{number}", title=f"Run number {number}", status="finished",
                ended_at=now - timedelta(seconds=number), last_event_at=now, started_by=user,
            )
            for number in range(start, min(start + 2_000, runs))
        ]  # fmt: skip
        Run.objects.bulk_create(made)
        Event.objects.bulk_create(event(run, number) for run in made for number in (1, 2, 3))
        asked = [request(run, start + at, at) for at, run in enumerate(made) if at % 2 == 0]
        ApprovalRequest.objects.bulk_create(asked)
        said: dict[str, Any] = {"by": user, "verdict": "approve", "seen_sha256": sha256, "leaves_at": now}
        decided = [Decision(request=one, decided_at=one.requested_at, **said) for one in asked]
        Decision.objects.bulk_create(decided)
        Delivery.objects.bulk_create(
            Delivery(kind="decision", run=one.request.run, decision=one, state="delivered", created_at=one.decided_at)
            for one in decided
        )
        entries = []
        for one in asked:
            for action in ("request.opened", "decision.made", "delivery.delivered"):
                at_seq += 1
                entries.append(
                    AuditEntry(
                        seq=at_seq, at=now, actor="boss", action=action, target=f"request:{one.pk}", data="{}",
                        previous="0" * 64, hash=secrets.token_hex(32),
                    )
                )  # fmt: skip
        AuditEntry.objects.bulk_create(entries)
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def pages() -> dict[str, str]:
    """Name -> address."""
    from django.urls import reverse
    from django.utils import timezone

    from approvals.models import ApprovalRequest, AuditEntry, Decision, Delivery
    from streams.models import Event, Run

    def to(model: Any, what: str, *args: Any) -> str:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)

    long = Run.objects.get(external_id="exec_long")
    some = Run.objects.order_by("pk")[1]
    asked = ApprovalRequest.objects.order_by("pk")[1]
    now = timezone.now()
    lists = {
        model._meta.verbose_name_plural: to(model, "changelist")
        for model in (Run, Event, ApprovalRequest, Decision, Delivery, AuditEntry)
    }
    runs, events, requests = to(Run, "changelist"), to(Event, "changelist"), to(ApprovalRequest, "changelist")
    record = to(Run, "change", long.pk)
    return {
        "front": reverse("admin:index"),
        **{f"list: {name}": url for name, url in lists.items()},
        **{f"last page: {name}": f"{url}?p=200" for name, url in lists.items() if name in ("runs", "audit entries")},
        "list: events of one run": f"{events}?run__id__exact={long.pk}",
        "last page: events of one run": f"{events}?run__id__exact={long.pk}&p=100",
        "month: runs": f"{runs}?started_at__year={now.year}&started_at__month={now.month}",
        "month: requests": f"{requests}?requested_at__year={now.year}&requested_at__month={now.month}",
        "run: newest": record,
        "run: first": f"{record}?at=1",
        "run: middle": f"{record}?before=5000",
        "run: short": to(Run, "change", some.pk),
        "request": to(ApprovalRequest, "change", asked.pk),
        "event": to(Event, "change", Event.objects.order_by("pk")[1].pk),
        "delivery": to(Delivery, "change", Delivery.objects.order_by("pk")[1].pk),
        "audit entry": to(AuditEntry, "change", 100),
        "filter: requests unknown": f"{requests}?attention=unknown",
        "filter: requests that need attention": f"{requests}?attention=needed",
        "filter: runs that need attention": f"{runs}?attention=needed",
        "filter: runs failed": f"{runs}?status__exact=failed",
        "filter: events marked": f"{events}?marked__exact=1",
        "filter: audit of a request": f"{to(AuditEntry, 'changelist')}?target=request:{asked.pk}",
        "search: runs by id": f"{runs}?q={some.pk}",
        "search: runs by title": f"{runs}?q=number+77",
        "search: runs, nothing": f"{runs}?q=nosuchthing",
        "search: requests by tool": f"{requests}?q=tool_7",
        "search: requests by hash": f"{requests}?q={asked.input_sha256[:12]}",
        "search: events by hash": f"{events}?q={'0' * 12}",
        "search: audit by target": f"{to(AuditEntry, 'changelist')}?q=request:{asked.pk}",
    }  # fmt: skip


def measure() -> dict[str, tuple[float, int]]:
    """Name -> milliseconds of the quickest of some rounds and the number of queries.

    SQLite works in this process: its own time counts, whatever else the machine does. Elsewhere the clock counts.
    """
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from dashboard.models import User

    clock = time.process_time if connection.vendor == "sqlite" else time.perf_counter
    client = Client()
    client.force_login(User.objects.get(username="boss"))
    made = {}
    for name, url in pages().items():
        answer = client.get(url)  # fills caches
        assert answer.status_code == 200, (name, url, answer.status_code)
        with CaptureQueriesContext(connection) as queries:
            client.get(url)
        count = len(queries)  # the next request forgets them
        times = []
        for _ in range(ROUNDS):
            start = clock()
            client.get(url)
            times.append((clock() - start) * 1_000)
        made[name] = (min(times), count)
    return made


def judged(few: dict[str, tuple[float, int]], many: dict[str, tuple[float, int]]) -> Iterator[dict[str, Any]]:
    """A row for each page."""
    for name, (ms, queries) in many.items():
        ratio = max(ms, FLOOR_MS) / max(few[name][0], FLOOR_MS)
        scans = name.startswith(SCANS)
        ok = queries == few[name][1] and (scans or ratio <= GROWTH)
        yield {"bench": "admin", "page": name, "ms": round(ms, 1), "few_ms": round(few[name][0], 1), "queries": queries,
               "ratio": round(ratio, 2), "goal": None if scans else GROWTH, "ok": ok}  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=100_000)
    chosen = parser.parse_args(arguments)
    folder = tempfile.mkdtemp(prefix="countersign-bench-")
    try:
        prepare(os.path.join(folder, "data"))
        fill(chosen.runs // 10, chosen.events // 10)
        few = measure()
        fill(chosen.runs, chosen.events)
        ok = True
        for row in judged(few, measure()):
            ok &= row["ok"]
            sys.stdout.write(json.dumps(row) + "\n")
        return 0 if ok else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
