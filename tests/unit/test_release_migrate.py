"""A command of a migration runs as its user, in the sandbox, with the secrets that are its user's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .conftest import load

release_migrate = load("roles/fastapi_app/library/release_migrate.py")
SLOT = Path("/srv/shop/slots/green")


def ran(monkeypatch: pytest.MonkeyPatch, kind: str, **given: Any) -> tuple[str, ...]:
    """Return the words of the command that systemd is given."""
    words: list[tuple[str, ...]] = []
    monkeypatch.setattr(release_migrate.systemd, "run", lambda *command: words.append(command))
    app = SimpleNamespace(name="shop", slot=lambda _: SLOT)
    full = {"slot": "green", "timeout": 60, "generated": False, "credentials": [], "sandbox": []}
    release_migrate.migrate(app, full | given, 1, {"run": "true", "as": kind})
    return words[0]


@pytest.mark.parametrize(
    ("kind", "user", "suffix"), [("owner", "shop_migrator", ".migrate"), ("app", "shop", "")]
)
def test_secrets_are_those_of_its_user(
    monkeypatch: pytest.MonkeyPatch, kind: str, user: str, suffix: str
) -> None:
    words = ran(monkeypatch, kind, credentials=["KEY"])
    assert f"--uid={user}" in words
    assert f"--property=EnvironmentFile={SLOT}/environment{suffix}" in words
    assert f"--property=LoadCredential=KEY:{SLOT}/secrets{suffix}/KEY" in words
    assert f"--property=EnvironmentFile={SLOT}/generated" not in words


def test_made_up_secrets_are_in_the_environment_of_one_that_has_them_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ran(monkeypatch, "owner", generated=True)
    assert f"--property=EnvironmentFile={SLOT}/generated" in words


def test_it_is_kept_to_what_the_application_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ran(monkeypatch, "owner", sandbox=["NoNewPrivileges=yes", "CapabilityBoundingSet="])
    assert "--property=NoNewPrivileges=yes" in words
    assert "--property=CapabilityBoundingSet=" in words
