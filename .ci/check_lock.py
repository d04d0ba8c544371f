#!/usr/bin/env python3
"""Check the lock files against pyproject.toml: pins that satisfy it, a hash for each, one version, no address.

Standard library only; understands the version specifiers that pyproject.toml uses.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PIN = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[A-Za-z0-9.+!]+)(?: ; [^\\\n]+?)?"
    r"(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)(?:\n|\Z)"
)
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?P<bounds>[^;]*)")
BOUND = re.compile(r"(==|>=|<=|!=|<|>)([0-9][0-9.]*)")
ADDRESS = re.compile(r"://|\bfile:|@ |--(?:index|extra-index|find-links|trusted)|(?:^|\s)/\w")
"""Anything that names a host or a path: a lock file says what, never from where."""


class Pin(NamedTuple):
    name: str
    version: str
    hashed: bool


def pins(text: str) -> Iterator[Pin]:
    """Every pin of a lock file. Raises ValueError at a line that is none."""
    body = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    at = 0
    while at < len(body):
        found = PIN.match(body, at)
        if found is None:
            raise ValueError(f"not a pin: {body[at:].splitlines()[0]}")
        yield Pin(found["name"], found["version"], bool(found["hashes"]))
        at = found.end()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without trailing zeros: enough to compare released versions."""
    parts = [int(part) for part in re.findall(r"\d+", re.split(r"[a-z+]", version)[0])]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a pin lies within `>=1.2,<2`. Raises ValueError at a specifier that is not understood."""
    if BOUND.sub("", bounds).strip(" ,"):
        raise ValueError(f"specifier not understood: {bounds}")
    have = release(version)
    tests = {
        "==": have.__eq__, "!=": have.__ne__, ">=": have.__ge__, "<=": have.__le__, ">": have.__gt__, "<": have.__lt__,
    }  # fmt: skip
    return all(tests[operator](release(wanted)) for operator, wanted in BOUND.findall(bounds))


def problems(project: Mapping[str, Sequence[str]], locks: Mapping[str, str]) -> Iterator[str]:
    """What is wrong: `project` has the requirements and `locks` the text for each lock file's name."""
    everywhere: dict[str, set[str]] = {}
    for file, text in locks.items():
        yield from (f"{file}: holds an address: {line}" for line in text.splitlines() if ADDRESS.search(line))
        try:
            found = list(pins(text))
        except ValueError as exc:
            yield f"{file}: {exc}"
            continue
        yield from (f"{file}: {pin.name}=={pin.version} has no hash" for pin in found if not pin.hashed)
        here: dict[str, set[str]] = {}  # a package may have a version for each marker
        for pin in found:
            here.setdefault(pin.name, set()).add(pin.version)
        yield from unmet(file, project[file], here)
        for name, versions in here.items():
            if everywhere.setdefault(name, versions) != versions:
                yield f"{file}: {name} has another version in another lock file"


def unmet(file: str, requirements: Sequence[str], pinned: Mapping[str, set[str]]) -> Iterator[str]:
    for requirement in requirements:
        wanted = REQUIREMENT.match(requirement)
        if wanted is None or not pinned.get(normal(wanted["name"])):
            yield f"{file}: lacks {requirement}"
        elif not all(satisfies(version, wanted["bounds"]) for version in pinned[normal(wanted["name"])]):
            yield f"{file}: does not satisfy {requirement}"


def main() -> int:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = {
        "requirements.txt": pyproject["project"]["dependencies"],
        "requirements-dev.txt": pyproject["dependency-groups"]["dev"],
    }
    found = list(problems(project, {file: (ROOT / file).read_text(encoding="utf-8") for file in project}))
    for problem in found:
        print(problem, file=sys.stderr)
    print("lock files: " + (f"{len(found)} problem(s); .ci/lock writes them anew" if found else "in order"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
