"""Shell: which programs, where, and what cannot be known before it runs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.reading.sentence import Notice, Part, Reading, counted, fact, first, glue, value, words
from dashboard.values import Number

TEXT = ("command", "cmd", "script", "shell", "commands", "bash")
PLACE = ("host", "hostname", "server", "machine", "instance")
WORDS = {"command", "shell", "bash", "exec", "execute", "terminal", "run", "ssh", "script", "cmd"}
PARTS = {"|", "||", "&&", ";", "&", "|&", "\n"}
SHELLS = {"sh", "bash", "zsh", "dash", "ksh", "eval", "source", "python", "python3", "perl", "node"}
FETCHERS = {"curl", "wget", "fetch"}
LATER = re.compile(r"\$\(|`|\$\{?\w|<\(")


def read(tool: str, arguments: Mapping[str, Any]) -> Reading | None:
    """A shell command is an argument named so, of a tool that runs something."""
    name, given = first(arguments, TEXT)
    text = shlex.join(given) if isinstance(given, list) and all(isinstance(part, str) for part in given) else given
    if not isinstance(text, str) or isinstance(text, Number) or not words(tool) & WORDS:
        return None
    place_name, place = first(arguments, PLACE)
    where = [glue(" on "), value(place)] if isinstance(place, str) else []
    lead = tuple(found for found in (name, place_name) if found)
    steps = commands(text)
    if not steps:
        return Reading(
            "shell",
            (glue("Runs "), fact("a command that this system cannot read"), *where, glue(".")),
            "Whether it can be taken back is not known.",
            lead=lead,
        )
    removed = [path for step in steps for path in _removes(step)]
    if removed:
        alone = len(steps) == 1
        said = (
            [glue("Remove ")] if alone else [glue("Run "), fact(counted(len(steps), "command")), glue(" and remove ")]
        )
        parts = [*said, glue("files under "), *_paths(removed), glue(", count not known")]
        reversal = "Cannot be undone."
    elif len(steps) == 1:
        parts = [glue("Run "), value(_program(steps[0]))]
        reversal = "What it changes is not known to this system."
    else:
        programs = list(dict.fromkeys(_program(step) for step in steps))
        parts = [glue("Run "), fact(counted(len(steps), "command")), glue(", "), value(", ".join(programs))]
        reversal = "What they change is not known to this system."
    return Reading("shell", (*parts, *where, glue(".")), reversal, _notices(text, steps), lead=lead)


def commands(text: str) -> list[list[str]]:
    """The commands of a line, each as its words; none where the text cannot be taken apart."""
    try:
        lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split, lexer.commenters = True, ""
        tokens = list(lexer)
    except ValueError:
        return []
    made: list[list[str]] = [[]]
    for token in tokens:
        if token in PARTS or set(token) <= set("()|&;"):
            made.append([])
        else:
            made[-1].append(token)
    return [step for step in made if step]


def _program(step: Sequence[str]) -> str:
    plain = [word for word in step if "=" not in word.split("/")[0]] or list(step)
    while len(plain) > 1 and plain[0] in {"sudo", "nohup", "time", "env", "exec", "command"}:
        plain = plain[1:]
    return plain[0].rsplit("/", 1)[-1]


def _removes(step: Sequence[str]) -> list[str]:
    program = _program(step)
    if program == "find" and "-delete" in step:
        return [word for word in step[step.index("find") + 1 :][:1] if "find" in step]
    if program in {"rm", "rmdir", "unlink", "shred"}:
        start = next(index for index, word in enumerate(step) if word.rsplit("/", 1)[-1] == program) + 1
        return [word for word in step[start:] if not word.startswith("-")] or ["."]
    return []


def _paths(removed: Sequence[str]) -> list[Part]:
    return [value(removed[0])] if len(removed) == 1 else [fact(counted(len(removed), "path"))]


def _notices(text: str, steps: Sequence[Sequence[str]]) -> tuple[Notice, ...]:
    programs = [_program(step) for step in steps]
    made = []
    if any(one in FETCHERS for one in programs) and any(one in SHELLS for one in programs):
        made.append(Notice("stop", "Runs what it fetches", "What it will do stands on another machine, not here."))
    elif any(_program(step) in SHELLS and {"-c", "-e"} & set(step) for step in steps):
        made.append(Notice("look", "A program stands inside the command", "It is not taken apart here: read it below."))
    if any("sudo" in step for step in steps):
        made.append(Notice("look", "Runs with the rights of an administrator", "sudo is in the command."))
    if LATER.search(text):
        made.append(
            Notice(
                "look",
                "Parts are worked out when it runs",
                "Variables or inner commands: their values are not known here.",
            )
        )
    return tuple(made[:2])
