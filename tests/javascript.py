"""The official JavaScript library for Standard Webhooks: found or installed, and asked what it accepts."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PACKAGE = "standardwebhooks@1.0.0"
INSTALL_S = 120
VERIFY_S = 60

VERIFY = """
const {createRequire} = require("module");
const {Webhook} = createRequire(process.argv[1] + "/x.js")("standardwebhooks");
const lines = require("fs").readFileSync(0, "utf8").trim().split("\\n").map(line => JSON.parse(line));
let accepted = 0, refused = 0;
for (const {secret, headers, body} of lines) { new Webhook(secret).verify(body, headers); accepted++ }
for (const {secret, headers, body} of lines)
  try { new Webhook(secret).verify(body + " ", headers) } catch { refused++ }
console.log(accepted, refused);
"""

Message = tuple[str, Mapping[str, str], bytes]  # secret, headers, body


def accepts(messages: Sequence[Message]) -> None:
    """Assert that it accepts every message, and none that was changed. Skips where there is no such library."""
    folder, why = _library()
    if not folder:
        pytest.skip(f"JavaScript: {why}")
    lines = [
        json.dumps({"secret": secret, "headers": dict(headers), "body": body.decode()})
        for secret, headers, body in messages
    ]
    done = subprocess.run(
        ["node", "-e", VERIFY, folder], input="\n".join(lines), capture_output=True, text=True, timeout=VERIFY_S,
        check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == ([str(len(messages))] * 2, "")


@functools.cache
def _library() -> tuple[str, str]:
    """The folder with `node_modules`, or why there is none."""
    if shutil.which("node") is None:
        return "", "there is no Node"
    if given := os.environ.get("COUNTERSIGN_TEST_NODE_MODULES", ""):
        folder = Path(given)
        return str(folder.parent if folder.name == "node_modules" else folder), ""
    npm = shutil.which("npm")
    if npm is None:
        return "", "there is no npm, and COUNTERSIGN_TEST_NODE_MODULES names no folder"
    made = tempfile.mkdtemp(prefix="countersign-npm-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    command = [npm, "install", PACKAGE, "--prefix", made, "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return "", f"npm did not install {PACKAGE} in time"
    return (made, "") if done.returncode == 0 else ("", f"npm cannot install {PACKAGE}: {done.stderr[-200:]!r}")
