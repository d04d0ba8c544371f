"""Pictures of every page, for looking at, with what axe finds on them.

    python -m tests.browser.screens FOLDER [--only NAME] [--width desktop] [--scheme light] [--no-axe]

Rows are made in a folder of its own; the pages are served by plain Daphne, so that nothing moves while one looks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.countersign import ROOT, eventually, free_port

WIDTHS = {"desktop": (1280, 800), "phone": (390, 844), "wide": (1920, 1080), "narrow": (360, 780)}
CHECKED = ("desktop", "phone")  # axe looks at these
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
PASSWORD = "a long pass phrase"


def prepare(data: Path) -> None:
    """The environment of a house of our own, before Django reads its settings."""
    for name in ("DATABASE_URL", "REDIS_URL", "COUNTERSIGN_ORIGINS", "COUNTERSIGN_UNDO_S"):
        os.environ.pop(name, None)
    os.environ |= {
        "COUNTERSIGN_DATA_DIR": str(data),
        "COUNTERSIGN_SECRET_KEY": "only-for-screens-0123456789abcdefghijklmnopqrstuvwxyz",
        "COUNTERSIGN_FIELD_KEYS": "dGVzdHMtb25seS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0=",
        "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        "PYTHONPATH": str(ROOT),
    }
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


@contextmanager
def served(data: Path) -> Iterator[str]:
    """The pages on a free port."""
    port = free_port()
    with (data / "daphne.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "dashboard.asgi:application"],
            cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ),
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"

        def up() -> bool:
            try:
                return httpx.get(f"{url}/health/live", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        try:
            eventually(up, why="the server answers")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def listen(page: Any, where: dict[str, str], wrong: list[str]) -> None:
    """Keep what the browser complains about."""

    def heard(said: Any) -> None:
        if said.type in ("error", "warning") and "404" not in said.text:
            wrong.append(f"{where['now']}: console: {said.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(f"{where['now']}: {error}"))


def look(
    url: str, pages: dict[str, str], out: Path, *, axe: bool, widths: list[str], schemes: list[Scheme]
) -> list[str]:
    """Take the pictures; returns what is wrong."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    from dashboard import chromium

    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find())
        for width in widths:
            across, down = WIDTHS[width]
            for scheme in schemes:
                context = browser.new_context(
                    viewport={"width": across, "height": down}, color_scheme=scheme, has_touch=across < 400
                )
                page = context.new_page()
                where = {"now": "sign-in"}
                listen(page, where, wrong)
                page.goto(f"{url}/accounts/login/")
                page.screenshot(path=out / f"sign-in-{width}-{scheme}.png")
                page.fill("[name=username]", "mara")
                page.fill("[name=password]", PASSWORD)
                page.click("text=Sign in >> nth=-1")
                page.wait_for_url(f"{url}/")
                for name, path in pages.items():
                    where["now"] = f"{name} {width} {scheme}"
                    page.goto(url + path)
                    if page.locator("[data-live]").count():
                        page.locator(".live.on").first.wait_for(state="attached", timeout=60_000)
                    page.wait_for_timeout(700)  # a picture, not a test: fonts and the first push settle
                    page.screenshot(
                        path=out / f"{name}-{width}-{scheme}.png", full_page=not path.startswith("/?") and path != "/"
                    )
                    overflow = page.evaluate(
                        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                    )
                    if overflow > 0:
                        wrong.append(f"{where['now']}: {overflow} px too wide")
                    if axe and width in CHECKED:
                        found = Axe().run(page)
                        assert found.response["passes"], "axe looked at something"
                        for one in found.response["violations"]:
                            nodes = [
                                node["html"][:140]
                                + " :: "
                                + (node.get("failureSummary") or "")[:200].replace("\n", " ")
                                for node in one["nodes"][:3]
                            ]
                            wrong.append(f"{where['now']}: axe {one['impact']}: {one['id']}: {nodes}")
                context.close()
        browser.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--width", action="append", choices=WIDTHS, default=[])
    parser.add_argument("--scheme", action="append", choices=SCHEMES, default=[])
    parser.add_argument("--no-axe", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="countersign-screens-") as folder:
        prepare(Path(folder))
        from tests.browser import states

        made = states.seed()
        pages = {name: path for name, path in made.items() if not chosen.only or any(map(name.startswith, chosen.only))}
        with served(Path(folder)) as url:
            wrong = look(
                url, pages, chosen.folder, axe=not chosen.no_axe,
                widths=chosen.width or list(WIDTHS), schemes=chosen.scheme or list(SCHEMES),
            )  # fmt: skip
        print((Path(folder) / "daphne.log").read_text()[-3000:], file=sys.stderr)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
