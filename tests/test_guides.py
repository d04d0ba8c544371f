"""README and guides: links lead somewhere, commands exist, settings are all there, and what can be run here is run."""

import json
import os
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import get_commands, load_command_class

from approvals.webhook import Data
from tests.countersign import ROOT, Countersign, approvals, eventually, free_port
from tests.emulator import Emulator, emulator
from tests.streams.emulator.clients import MiddeskClient, MindraClient

README, DOCS = ROOT / "README.md", ROOT / "docs"
GUIDES = [README, *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)[^)]*\)")
COMMAND = re.compile(r"python3 manage\.py ")
SETTING = re.compile(r"""["'](COUNTERSIGN_[A-Z_]+|DATABASE_URL|REDIS_URL|CHROMIUM)["']""")
BETWEEN_US = {"COUNTERSIGN_BOOTSTRAPPED"}  # from one of our own processes to another
START_S = 180.0


def blocks(guide: Path, language: str = "sh") -> list[str]:
    """The code blocks of a guide."""
    return [text for kind, text in BLOCK.findall(guide.read_text()) if kind == language]


def block(guide: Path, word: str, language: str = "sh") -> str:
    """The one block of a guide that has a word in it."""
    (found,) = [text for text in blocks(guide, language) if word in text]
    return found


def one_command(text: str) -> str:
    """A shell text up to where its first command ends."""
    quote = ""
    for place, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in ")|" or text[place - 1 : place + 1] == " #" or (char == "\n" and text[place - 1] != "\\"):
            return text[:place]
    return text


def commands() -> list[tuple[str, str]]:
    """Every `manage.py` command in a block: where, and its arguments."""
    return [
        (guide.name, one_command(text[found.end() :]).replace("\\\n", " "))
        for guide in GUIDES
        for text in blocks(guide)
        for found in COMMAND.finditer(text)
    ]


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_lead_somewhere(guide: Path) -> None:
    for target in LINK.findall(guide.read_text()):
        assert (guide.parent / target).exists(), target


def test_every_guide_is_linked_from_the_readme() -> None:
    readme = README.read_text()
    assert [guide.name for guide in GUIDES[1:] if f"(docs/{guide.name})" not in readme] == []


def test_the_readme_begins_with_the_two_commands_of_a_newcomer() -> None:
    first = blocks(README)[0].splitlines()
    assert [line.partition("#")[0].strip() for line in first] == [
        "python3 manage.py up --demo",
        "python3 manage.py test",
    ]


@pytest.mark.parametrize(("guide", "written"), commands(), ids=lambda one: str(one)[:60])
def test_every_command_that_is_written_down_exists_with_these_arguments(guide: str, written: str) -> None:
    name, *arguments = shlex.split(written)
    if name == "test":  # the bootstrap's own: it hands everything to pytest
        return
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    parser.parse_args(arguments)


def test_every_setting_is_described_and_every_described_one_exists() -> None:
    modules = [*(ROOT / "dashboard").rglob("*.py"), *(ROOT / "tests" / "plugins").rglob("*.py")]
    read = {name for path in modules for name in SETTING.findall(path.read_text())} - BETWEEN_US
    table = re.findall(r"^\| (`.+?) \|", (DOCS / "run-for-a-team.md").read_text(), re.MULTILINE)
    described = {name for row in table for name in re.findall(r"`([A-Z_]+)`", row)}
    assert described <= read, described - read
    assert read - described <= {name for name in read if name.startswith("COUNTERSIGN_TEST_")}, read - described


def test_the_webhook_that_is_shown_has_the_fields_that_are_sent() -> None:
    shown = json.loads(blocks(DOCS / "webhooks.md", "json")[0])
    assert shown.keys() == {"type", "timestamp", "data"}
    assert shown["data"].keys() == Data.__annotations__.keys()


def test_the_resume_template_that_is_shown_can_be_used() -> None:
    from dashboard.management import arguments
    from streams.providers.base import Account
    from streams.providers.middesk import Middesk

    written = next(one for _, one in commands() if "resume=" in one)
    option = shlex.split(written)[-1]
    assert Middesk().decidable(Account("https://api.middesk.com/v1", options=arguments.pairs([option]))) == ""


# --- what is run ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countersign]:
    made = Countersign(tmp_path_factory.mktemp("house"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def agents() -> Iterator[Emulator]:
    with emulator("all") as one:
        yield one


def run(house: Countersign, text: str, instead: Mapping[str, str] | None = None, *, folder: Path = ROOT) -> str:
    """Run a block in a shell as its reader would, with our addresses instead of those that are written down."""
    for name, value in {"http://127.0.0.1:8000": house.url, **(instead or {})}.items():
        text = text.replace(name, value)
    shims = house.data_dir / "bin"
    shims.mkdir(exist_ok=True)
    python = shims / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    env = {**house.env, "PATH": f"{shims}:{os.environ['PATH']}", "no_proxy": "*"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
@pytest.mark.process
def test_the_api_in_five_lines(house: Countersign, agents: Emulator) -> None:
    house.command("providers", "add", "api-agent", "--kind", "agui", "--base-url", agents.agent)
    five = block(README, "api runs -d")
    assert len(five.splitlines()) == 5
    ours = {"my-agent": "api-agent", "Tell Ana that her invoice is paid": "outbound-email"}
    *first, last = five.splitlines(keepends=True)
    with house.api() as api:
        run(house, "".join(first), ours)
        (asked,) = eventually(lambda: approvals(api, status="pending", provider="api-agent"))
        said = run(
            house,
            "".join(first[:2]).replace("create laptop", "create again") + last,
            {"ID/": f"{asked['id']}/", "AS SHOWN BY THE REQUEST": asked["input_sha256"]},
        )
        assert json.loads(said)["id"] == asked["id"]
        eventually(lambda: api.get(f"approvals/{asked['id']}").json()["status"] == "delivered")


@pytest.mark.long
@pytest.mark.process
def test_the_agent_of_the_ag_ui_guide_sends_once_it_is_approved(house: Countersign, tmp_path: Path) -> None:
    guide, port = DOCS / "connect-ag-ui.md", free_port()
    written = re.search(r"<<'PYTHON'\n(.*?)^PYTHON", block(guide, "agent.py"), re.MULTILINE | re.DOTALL)
    assert written
    (tmp_path / "agent.py").write_text(written[1])
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "agent:app", "--port", str(port)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for_line(server, b"Uvicorn running", error=True)
        said = run(house, block(guide, "runs start"), {"http://127.0.0.1:8811": f"http://127.0.0.1:{port}"})
        assert "my-agent: ok: it answers and wants POST" in said
        with house.api() as api:
            (asked,) = eventually(lambda: approvals(api, status="pending", provider="my-agent"))
            assert asked["tool_name"] == "send_email"
            body = {"verdict": "approve", "input_sha256": asked["input_sha256"]}
            assert api.post(f"approvals/{asked['id']}/decision", json=body).status_code == 202
        wait_for_line(server, b"sending ")
    finally:
        server.kill()
        server.communicate()


def wait_for_line(process: "subprocess.Popen[bytes]", word: bytes, *, error: bool = False) -> None:
    said, pipe = b"", process.stderr if error else process.stdout
    assert pipe is not None
    while word not in said:
        ready, _, _ = select.select([pipe], [], [], START_S)
        chunk = os.read(pipe.fileno(), 65536) if ready else b""
        assert chunk, said
        said += chunk


@pytest.mark.long
@pytest.mark.process
def test_the_mindra_guide(house: Countersign, agents: Emulator) -> None:
    with MindraClient(agents) as elsewhere:
        execution = elsewhere.start(workflow="refund")
    said = run(
        house,
        block(DOCS / "connect-mindra.md", "providers add"),
        {"https://api.mindra.co": agents.mindra, "YOUR-SLUG": "outbound-email", "EXECUTION_ID": execution},
    )
    assert "mindra: ok: it answers as it should" in said
    with house.api() as api:
        asked = eventually(lambda: rows if len(rows := approvals(api, provider="mindra")) == 2 else [])
    assert {row["tool_name"] for row in asked} == {"send_email", "issue_refund"}


@pytest.mark.long
@pytest.mark.process
def test_the_langgraph_guide(house: Countersign, agents: Emulator) -> None:
    guide, thread = DOCS / "connect-langgraph.md", "5b1e0000-0000-4000-8000-0000000000aa"
    body = {"assistant_id": "sql-migration", "input": {}, "if_not_exists": "create"}
    httpx.post(f"{agents.langgraph}/threads/{thread}/runs", json=body, trust_env=False).raise_for_status()
    instead = {"http://127.0.0.1:2024": agents.langgraph, "THREAD_ID": thread, "--workflow agent": "--workflow refund"}
    said = run(house, block(guide, "providers check"), instead)
    assert "langgraph: ok: it answers" in said
    with house.api() as api:
        asked = eventually(lambda: rows if len(rows := approvals(api, provider="langgraph")) == 2 else [])
    assert {row["tool_name"] for row in asked} == {"issue_refund", "run_sql"}
    run(house, block(guide, "approve={"), instead)


@pytest.mark.long
@pytest.mark.process
def test_the_agno_guide(house: Countersign, agents: Emulator) -> None:
    form = {"message": "sql-migration", "session_id": "session-7", "background": "true", "stream": "true"}
    told = httpx.post(f"{agents.agno}/agents/desk/runs", data=form, trust_env=False).text
    elsewhere = json.loads(told.partition("data: ")[2].partition("\n")[0])["run_id"]
    instead = {
        "http://127.0.0.1:7777": agents.agno,
        "AGENT_ID/SESSION_ID/RUN_ID": f"desk/session-7/{elsewhere}",
        "AGENT_ID": "refund",
    }
    said = run(house, block(DOCS / "connect-agno.md", "providers check"), instead)
    assert "agno: ok: it answers" in said
    with house.api() as api:
        asked = eventually(lambda: rows if len(rows := approvals(api, provider="agno")) == 2 else [])
    assert {row["tool_name"] for row in asked} == {"issue_refund", "run_sql"}


@pytest.mark.long
@pytest.mark.process
def test_the_middesk_guide(house: Countersign, agents: Emulator) -> None:
    guide, business = DOCS / "connect-middesk.md", "5b1e0000-0000-4000-8000-000000000001"
    instead = {
        "https://api-sandbox.middesk.com": agents.middesk,
        "https://approvals.example.org": house.url,
        "BUSINESS_ID": business,
        "cip_orchestrator": "watchlist_resolution",
    }
    with MiddeskClient(agents) as elsewhere:
        first = elsewhere.start("tin_verification")
        connect, register = block(guide, "providers check"), block(guide, "curl")
        said = run(house, connect + "python3 manage.py providers list\n" + register, instead | {"RUN_ID": first})
        assert "middesk: ok: it answers and takes the key; its agents: watchlist_resolution, " in said
        assert "/hooks/middesk/ (secret set)" in said
        elsewhere.start("kyb_followup")  # nobody tells us of it but the webhook
        with house.api() as api:

            def tools() -> set[Any]:
                return {row["tool_name"] for row in approvals(api, provider="middesk")}

            eventually(lambda: len(tools()) >= 3, why="the three runs ask")
    answers = block(guide, "resume={").replace("add middesk ", "add middesk-answers ")
    run(house, "export MIDDESK_API_KEY=...\n" + answers, instead)


@pytest.mark.long
@pytest.mark.process
def test_the_database_can_be_copied_while_it_is_used(house: Countersign, tmp_path: Path) -> None:
    copy, keys, _, verify = block(DOCS / "run-for-a-team.md", "VACUUM INTO").splitlines()
    (tmp_path / "var").symlink_to(house.data_dir)
    (tmp_path / "elsewhere").mkdir()
    run(house, f"{copy}\n{keys}", {"/somewhere/else/": "elsewhere/"}, folder=tmp_path)
    assert run(house, verify).startswith("ok: ")
    (tmp_path / "elsewhere" / "countersign.sqlite3").write_bytes((tmp_path / "backup.sqlite3").read_bytes())
    restored = Countersign(tmp_path / "elsewhere")
    assert restored.command("audit", "verify").startswith("ok: ")
