"""Start on a database with a long past: how soon the server is ready, and how soon a page is there.

    python -m tests.cold_start [--events 100000] [--pending 2000]

Prints one JSON object of figures. Seconds are of this machine and judge nothing.
"""

import argparse
import json
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from tests.countersign import Countersign, eventually

PAGES = 40
RUNS = 200

FILL = """
import hashlib, json
from django.utils import timezone
from approvals.models import ApprovalRequest
from streams.models import Event, Provider, Run
events, pending, runs = {events}, {pending}, {runs}
now = timezone.now()
text = json.dumps(dict(to="someone@shop.example", body="lorem ipsum " * 20))
sha256 = hashlib.sha256(text.encode()).hexdigest()
paused = Provider.objects.create(name="resting", kind="mindra", base_url="http://127.0.0.1:9", paused=True)
made = [
    Run(provider=paused, external_id=f"exec_{{n}}", title=f"Run {{n}}", status="waiting", last_event_at=now)
    for n in range(runs)
]
Run.objects.bulk_create(made)
for start in range(0, events, 5000):
    Event.objects.bulk_create(
        Event(run=made[n % runs], seq=n // runs + 1, kind="chunk", payload=text, sha256=sha256, received_at=now)
        for n in range(start, min(start + 5000, events))
    )
ApprovalRequest.objects.bulk_create(
    ApprovalRequest(
        run=made[n % runs], call_id=f"apr_{{n}}", tool=f"tool_{{n % 40}}", arguments=text, input_sha256=sha256,
        canonical_sha256=sha256, opened_by_seq=1, status="pending",
    )
    for n in range(pending)
)
"""


def cold_start(folder: Path, *, events: int, pending: int) -> dict[str, Any]:
    """Fill, start, look. Raises AssertionError where a page does not show what is there."""
    house = Countersign(folder)
    try:
        house.start()  # makes the tables and the first person
        house.stop()
        house.command("shell", "--no-imports", "-c", FILL.format(events=events, pending=pending, runs=RUNS))
        began = time.monotonic()
        house.start()
        served_s = time.monotonic() - began
        eventually(lambda: httpx.get(f"{house.url}/health/ready", trust_env=False).status_code == 200, why="readiness")
        ready_s = time.monotonic() - began
        with closing(house.pages()) as browser:
            first_ms, took_ms = _look(browser, "/", f'id="rail-inbox">{pending}<'), []
            for path in ("/", "/runs/", "/streams/", "/?tab=decided"):
                took_ms += [_look(browser, path, "</html>") for _ in range(PAGES // 4)]
        return {
            "events": events,
            "pending": pending,
            "served_s": round(served_s, 2),
            "ready_s": round(ready_s, 2),
            "first_page_ms": round(first_ms, 1),
            "page_p50_ms": round(statistics.median(took_ms), 1),
            "page_p95_ms": round(statistics.quantiles(took_ms, n=20)[-1], 1),
        }
    finally:
        house.close()


def _look(browser: httpx.Client, path: str, shows: str) -> float:
    began = time.perf_counter()
    page = browser.get(path).raise_for_status().text
    took_ms = (time.perf_counter() - began) * 1000
    assert shows in page, f"{path} does not show {shows}"
    return took_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--pending", type=int, default=2_000)
    with tempfile.TemporaryDirectory(prefix="countersign-cold-") as folder:
        print(json.dumps(cold_start(Path(folder) / "data", **vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
