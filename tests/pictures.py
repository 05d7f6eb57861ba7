"""Take pictures of the board for the documentation, with a made-up fleet: `make pictures`.

Wants Debian's chromium, fonts-dejavu-core and postgresql. What is started here is gone afterwards. The fleet is the
same each time, and its times are those of today.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
from playwright.sync_api import Browser, Route, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.tests.conftest import started

ROOT = Path(__file__).resolve().parents[1]
BROWSER = Path("/usr/bin/chromium")
APP, PICTURES = ROOT / "app", ROOT / "docs/images"
# One whose newest deployments have ended in each way.
FLEET = ("--deployments", "4000", "--hosts", "12", "--apps", "3", "--seed", "181")
LARGEST = 200_000  # bytes of a picture
# Points. The last is longer than a phone's: it shows where the log begins.
DESK, TALL = {"width": 1280, "height": 900}, {"width": 1280, "height": 1100}
PHONE = {"width": 390, "height": 1200}


@contextmanager
def board() -> Iterator[str]:
    """Run the board on this machine with a fleet in its log, and yield its address."""
    with tempfile.TemporaryDirectory(prefix="board-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # for the server, which isn't root
        with started(folder / "pg") as cluster:
            environment = os.environ | {
                "PYTHONPATH": str(APP / "src"),
                "DATABASE_URL": cluster.url("board"),
                "API_TOKEN": "only-for-pictures-0123456789",
                "SLIPWAY_RELEASE": "3f9c2a71d05e",
                "SLIPWAY_SHARED": str(folder / "shared"),
            }
            seed = [sys.executable, "-m", "board", "seed", *FLEET]
            subprocess.run(seed, env=environment, check=True)
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
                command = [sys.executable, "-m", "uvicorn", "board.main:app", "--fd"]
                process = subprocess.Popen(
                    [*command, str(listener.fileno())],
                    env=environment,
                    pass_fds=[listener.fileno()],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait(15)


def wait_until_ready(url: str) -> None:
    """Wait for the board."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("pictures: the board isn't ready after 60 s")


def static(route: Route) -> None:
    """Answer with a file, as Nginx does on a host."""
    route.fulfill(path=APP / "static" / route.request.url.rpartition("/")[2])


def take(
    browser: Browser, url: str, name: str, colours: Literal["light", "dark"], size: dict[str, int]
) -> None:
    """Take one picture."""
    width, height = size["width"], size["height"]
    with browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=colours,
        timezone_id="UTC",
        device_scale_factor=2 if size is PHONE else 1,
        is_mobile=size is PHONE,
    ) as context:
        page = context.new_page()
        page.route("**/static/*", static)
        page.goto(url)
        expect(page.locator("#live")).to_have_text("Live")
        path = PICTURES / f"{name}.png"
        page.screenshot(path=path)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"pictures: {path.name} has {path.stat().st_size:,} bytes")
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Run as a program."""
    if not BROWSER.exists():
        raise SystemExit("pictures: no browser: apt install chromium fonts-dejavu-core")
    PICTURES.mkdir(exist_ok=True)
    with board() as url, sync_playwright() as driver:
        wait_until_ready(url)
        items = httpx.get(f"{url}/api/deployments?status=rolled_back&limit=1").json()["items"]
        deployment = f"{url}/deployments/{items[0]['id']}"
        # root has no sandbox; what it opens is ours
        with driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"]) as browser:
            take(browser, url, "board", "light", DESK)
            take(browser, url, "board-dark", "dark", DESK)
            take(browser, url, "board-phone", "light", PHONE)
            take(browser, deployment, "board-deployment", "light", TALL)


if __name__ == "__main__":
    main()
