"""The lock files fit pyproject.toml, and the check that says so finds what is wrong."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
HASH = f" \\\n    --hash=sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def check_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_lock", ROOT / ".ci" / "check_lock.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_files_are_in_order(check_lock: ModuleType) -> None:
    assert check_lock.main() == 0


@pytest.mark.parametrize(
    ("requirement", "lock", "problem"),
    [
        ("django>=5.2,<5.3", f"django==5.2.19{HASH}\n", ""),
        ("psycopg[binary,pool]>=3.2", f"psycopg==3.3{HASH}{HASH}\n", ""),
        ("Django_Ninja", f"django-ninja==1.7.1 ; sys_platform == 'linux'{HASH}\n", ""),
        ("django>=5.2,<5.3", f"# head\n\ndjango==5.3{HASH}\n", "does not satisfy"),
        ("django>=5.2.13", f"django==5.2.9{HASH}\n", "does not satisfy"),
        ("django==5.2", f"django==5.2.0{HASH}\n", ""),
        ("httpx", f"django==5.2.19{HASH}\n", "lacks httpx"),
        ("django", "django==5.2.19\n", "has no hash"),
        ("django", f"django>=5.2{HASH}\n", "not a pin"),
        ("django", f"--index-url https://example.org\ndjango==5.2.19{HASH}\n", "holds an address"),
        ("django", f"# by /home/somebody/uv\ndjango==5.2.19{HASH}\n", "holds an address"),
        ("django", f"django @ file:django.whl{HASH}\n", "holds an address"),
    ],
)
def test_what_is_wrong_with_a_lock_file_is_told(
    check_lock: ModuleType, requirement: str, lock: str, problem: str
) -> None:
    found = list(check_lock.problems({"lock": [requirement]}, {"lock": lock}))
    assert bool(found) == bool(problem)
    assert not found or problem in found[0]


def test_a_package_has_one_version_in_both_files(check_lock: ModuleType) -> None:
    locks = {"one": f"httpx==0.28.1{HASH}\n", "two": f"httpx==0.28.0{HASH}\n"}
    assert list(check_lock.problems({"one": [], "two": []}, locks)) == [
        "two: httpx has another version in another lock file"
    ]


def test_a_specifier_that_is_not_understood_is_no_pass(check_lock: ModuleType) -> None:
    with pytest.raises(ValueError, match="not understood"):
        check_lock.satisfies("1.0", "~=1.0")
