"""Imports point one way: dashboard -> approvals -> streams; the pure modules do no IO and read no clock."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN = {
    "streams": {"approvals", "dashboard"},
    "approvals": {"dashboard"},
    "streams/emulator": {"approvals", "dashboard", "django", "channels", "httpx"},
    "streams/providers": {"approvals", "dashboard", "django", "channels", "httpx", "time", "asyncio", "socket"},
}
PURE = [
    "streams/sse.py",
    "streams/events.py",
    "streams/jsontext.py",
    "streams/patch.py",
    "streams/dialects/__init__.py",
    "streams/dialects/base.py",
    "streams/dialects/table.py",
    "streams/backoff.py",
    "streams/__init__.py",
    "approvals/webhook.py",
]
IMPURE = {"django", "channels", "httpx", "asyncio", "socket", "time", "threading", "os"}


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a module imports at run time."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    modules = [path for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts]
    assert modules
    for path in modules:
        assert not imported(path) & FORBIDDEN[package], path


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_do_no_io(module: str) -> None:
    assert not imported(ROOT / module) & IMPURE
