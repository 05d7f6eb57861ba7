"""The scenario's hosts, each test on each of them, and a browser that trusts their authority and nobody else's."""

from __future__ import annotations

import base64
import hashlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import BrowserContext, Playwright, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.board import NAME, SCRATCH, Open
from tests.stack import ROOT, Stack, shows_journals


@pytest.fixture(scope="session", params=["board13", "board12"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """Return one of the scenario's hosts."""
    return Stack(request.param, SCRATCH / f"{request.param}.pem")


@pytest.fixture(scope="session")
def inventory() -> Path:
    """Return the scenario's inventory."""
    return ROOT / "molecule/board/inventory"


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Return what drives browsers."""
    expect.set_options(timeout=15_000)  # a busy machine is slow to draw
    with sync_playwright() as driver:
        yield driver


def key_of(stack: Stack) -> str:
    """Return the digest of the key of the host's certificate, which was checked against the host's authority."""
    with (
        socket.create_connection((stack.address, stack.https_port), timeout=10) as connection,
        stack.context().wrap_socket(connection, server_hostname=NAME) as tls,
    ):
        certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.fixture
def browser(stack: Stack, playwright: Playwright, tmp_path: Path) -> Open:
    """Return what opens a Chromium for which the board's name leads to the host.

    It takes the certificate because of its key, which was seen beforehand with the host's authority: a store of
    authorities of its own it has none.
    """
    number = iter(range(100))

    @contextmanager
    def opened(**more: Any) -> Iterator[BrowserContext]:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / str(next(number)),
            executable_path="/usr/bin/chromium",
            args=[
                f"--host-resolver-rules=MAP {NAME} {stack.address}",
                f"--ignore-certificate-errors-spki-list={key_of(stack)}",
                "--no-sandbox",  # root has none; what it opens is ours
            ],
            base_url=f"https://{NAME}",
            **more,
        )
        try:
            yield context
        finally:
            context.close()

    return opened


@pytest.fixture(scope="session")
def fleet(stack: Stack) -> Stack:
    """Return the host, its log filled by `python -m board seed` beside what the scenario's own run has written."""
    by_hand = "runuser -u board -- /srv/board/live/release/venv/bin/python -m board"
    if stack.get(f"https://{NAME}/api/deployments?app=shop&limit=1").json()["items"]:
        return stack
    stack.run(f"{by_hand} seed --deployments 20000 --anyway")
    return stack


pytest_runtest_makereport = shows_journals("board@*", "board-retire", "nginx", "postgresql@*")
