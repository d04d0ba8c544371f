"""Accounts of LangGraph and Agno: what their pages ask for, and what the connection check makes of their servers."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from dashboard import connection
from dashboard.desk import kinds
from streams import providers
from tests.emulator import Emulator, emulator
from tests.streams.holding import in_database
from tests.streams.whole import provider

KINDS = ("langgraph", "agno")


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("all") as one:
        yield one


@pytest.mark.parametrize("name", KINDS)
def test_a_start_page_asks_for_what_the_adapter_takes(name: str) -> None:
    adapter, kind = providers.get(name), kinds.kind(name)
    options = {one.name: {"a": 1} if one.shape == "object" else "x" for one in kind.start if one.into == "option"}
    needs = {one.into for one in kind.start if one.required}
    assert ("workflow" in needs, "task" in needs) == (True, adapter.capabilities.needs_task)
    options.pop("input", None)  # instead of a message
    assert adapter.check_start(task="say", workflow="agent", options=options) == {}
    assert kind.says
    assert not kinds.switched(name)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", KINDS)
async def test_the_connection_check_finds_a_server_and_says_where_none_is(agents: Emulator, name: str) -> None:
    here = await in_database(provider, name, f"{agents.url}/{name}")
    found = await asyncio.to_thread(connection.check, here)
    assert found.ok, found
    nowhere: Any = await in_database(provider, name, "http://127.0.0.1:9")
    assert (await asyncio.to_thread(connection.check, nowhere)).code == "refused"
