"""What a release is told of that makes it slower than it need be."""

from __future__ import annotations

from types import ModuleType

import pytest

from .conftest import load


@pytest.fixture(scope="module")
def start() -> ModuleType:
    """Return the module."""
    return load("roles/fastapi_app/library/release_start.py")


@pytest.mark.parametrize(
    ("journal", "remarks"),
    [
        ('INFO:     - "GET /readyz HTTP/1.1" 200 OK', 1),
        ("Application startup complete.", 0),
        ('INFO:     - "GET /another HTTP/1.1" 200 OK', 0),
    ],
)
def test_a_server_that_logs_what_nginx_has_logged(
    start: ModuleType, monkeypatch: pytest.MonkeyPatch, journal: str, remarks: int
) -> None:
    monkeypatch.setattr(start.systemd, "journal", lambda units, since: journal)
    assert len(start.logs_requests("shop@blue", "/readyz", 0.0)) == remarks
