"""The environment of every test, set before Django reads its settings: a folder and keys of their own."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

DATA = Path(tempfile.mkdtemp(prefix="countersign-test-"))
(DATA / "static").mkdir()  # WhiteNoise warns where there is none
atexit.register(shutil.rmtree, DATA, ignore_errors=True)
os.environ["COUNTERSIGN_DATA_DIR"] = str(DATA)
os.environ["COUNTERSIGN_SECRET_KEY"] = "only-for-tests-0123456789abcdefghijklmnopqrstuvwxyz"
os.environ["COUNTERSIGN_FIELD_KEYS"] = "dGVzdHMtb25seS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0="
for _name in ("COUNTERSIGN_ORIGINS", "COUNTERSIGN_PROXIES", "COUNTERSIGN_UNDO_S", "REDIS_URL", "DATABASE_URL"):
    os.environ.pop(_name, None)
if os.environ.get("COUNTERSIGN_TEST_ENGINE") == "postgres":
    os.environ["DATABASE_URL"] = os.environ["COUNTERSIGN_TEST_DATABASE_URL"]
