"""`make up`, as the README says it: an address that answers over HTTPS, and nothing to do the second time."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments: str) -> str:
    """Run make in the repository's root and return what it prints; fail with that if it fails."""
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def first() -> Iterator[str]:
    """Return what the first `make up` prints; drop the host at the end, unless somebody had it before."""
    had = (
        "slipway "
        in subprocess.run(
            [ROOT / "tests/hosts/host", "list"], capture_output=True, text=True, check=True
        ).stdout
    )
    yield make("up")
    if not had:
        make("down")


def test_the_address_answers_through_the_whole_stack(first: str) -> None:
    url, ca = make("-s", "url").strip(), make("-s", "ca").strip()
    assert url in first and "HTTP/2 200" in first
    # The name leads here in a browser and in curl; Python's resolver may not know it.
    there = httpx.URL(url)
    with httpx.Client(verify=ssl.create_default_context(cafile=str(ROOT / ca))) as client:
        answer = client.get(
            there.copy_with(host="127.0.0.1", path="/readyz"),
            headers={"Host": there.netloc.decode()},
            extensions={"sni_hostname": there.host},
        )
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


def test_the_second_time_nothing_changes_and_it_says_so(first: str) -> None:
    assert "Nothing changed" in make("up")


def test_status_and_help_tell_what_there_is(first: str) -> None:
    assert re.search(r"board .* blue .* 200, \d+ ms .* succeeded .* ago", make("status"))
    assert all(
        target in make("help") for target in ("up", "down", "ssh", "deploy", "rollback", "test")
    )
