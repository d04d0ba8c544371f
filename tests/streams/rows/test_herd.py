"""Row B9 with everything real: many streams of one provider's process, which is killed and started again."""

import asyncio
import json
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import httpx
import pytest

from streams.backoff import CAP_S
from streams.models import Event, Run, RunStatus
from tests import factories
from tests.emulator import Emulator, emulator
from tests.faults.proxy import proxy
from tests.plugins.figures import Figure
from tests.streams.holding import hold, in_database, lease, make_run, running

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.process,
    pytest.mark.long,
]
STREAMS, DOWN_S = 500, 3.0


def started(agents: Emulator, count: int) -> list[str]:
    """So many runs at the emulator, each of which waits for a person sooner or later."""
    made = []
    with httpx.Client(trust_env=False, timeout=60, headers={"x-api-key": "key-for-tests"}) as client:
        for _ in range(count):
            answer = client.post(f"{agents.mindra}/v1/workflows/refund/run", json={"task": "refund"})
            answer.raise_for_status()
            made.append(next(value for name, value in answer.json().items() if "execution" in name))
    return made


async def test_b9_streams_of_a_provider_that_is_restarted(tmp_path: Path, figure: Figure) -> None:
    chance = random.Random(9).random
    with emulator("mindra", state=tmp_path) as agents:
        ids = await asyncio.to_thread(started, agents, STREAMS)
        with proxy(agents.mindra) as between:
            async with running(chance=chance) as tools:
                first = await in_database(
                    partial(make_run, between.url, kind="mindra", secret="key-for-tests", external_id=ids[0])
                )
                more = partial(factories.run, provider=first.provider, status=RunStatus.QUEUED)
                runs = [first, *[await in_database(partial(more, external_id=one)) for one in ids[1:]]]
                for run in runs:
                    await in_database(lease, run)
                tasks = [asyncio.create_task(hold(run, tools)) for run in runs]
                try:
                    while await in_database(Run.objects.filter(status=RunStatus.WAITING).count) < STREAMS:
                        await asyncio.sleep(0.1)
                    before, down_at = len(between.connections), time.monotonic()
                    between.refuse()
                    await asyncio.to_thread(agents.kill)
                    between.end("reset")
                    await asyncio.sleep(DOWN_S)
                    with emulator("mindra", state=tmp_path, port=agents.port):
                        between.listen()
                        up_at = time.monotonic()
                        connected = Run.objects.filter(connected_at__isnull=False)
                        while await in_database(connected.count) < STREAMS:
                            await asyncio.sleep(0.1)
                        back_s = time.monotonic() - up_at
                        at = [one.at_s - down_at for one in between.connections[before:]]
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                kinds = Counter(await in_database(lambda: list(Event.objects.values_list("kind", flat=True))))
    peak, mean = max(Counter(map(int, at)).values()), len(at) / max(max(at) - min(at), 1.0)
    assert kinds["approval_request"] == STREAMS, json.dumps(kinds)
    assert kinds["gap"] == kinds["divergence"] == 0
    assert back_s <= 2 * CAP_S
    assert peak <= 3 * mean
    unit = f"peak/mean of connects a second, {peak} at most, all back {back_s:.0f} s after the restart"
    figure("B9", worst=round(peak / mean, 2), n=STREAMS, unit=unit, seed=9)
