"""The emulator is worth something only as long as it shares nothing with what it tests."""

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "streams" / "emulator"


def test_the_emulator_imports_the_standard_library_and_itself_only() -> None:
    foreign = set()
    for module in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module.name} imports relatively"
                names = [node.module or ""]
            else:
                continue
            foreign |= {
                (module.name, name)
                for name in names
                if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("streams.emulator")
            }
    assert not foreign


def test_running_the_emulator_loads_nothing_else() -> None:
    script = "import json, sys; import streams.emulator.cli; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, timeout=30)
    loaded = json.loads(output.stdout)
    assert not [name for name in loaded if name.split(".")[0] in ("django", "httpx", "dashboard", "approvals")]
    assert {name for name in loaded if name.startswith("streams.")} == {
        name for name in loaded if name.startswith("streams.emulator")
    }
