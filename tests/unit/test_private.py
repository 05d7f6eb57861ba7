"""Secrets on the host: made up once, kept by root alone, copied into the slot that they are for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.slipway_release import private, slots

from .conftest import load

release_slot = load("roles/fastapi_app/library/release_slot.py")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where made-up secrets are kept, and have files be those of who runs the tests."""
    monkeypatch.setattr(private, "STORE", tmp_path / "store")
    monkeypatch.setattr(slots.os, "fchown", lambda *_: None)
    return tmp_path / "store"


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """Return a slot's folder."""
    folder = tmp_path / "srv/shop/slots/blue"
    folder.mkdir(parents=True)
    return folder


def written(slot: Path, **given: Any) -> dict[str, Any]:
    """Give a slot its secrets, as a release does, and return what it was given."""
    given = {"slot": "blue", "secrets": "", "generated": [], "renew": []} | given
    given.setdefault("generated_as", "environment")
    app = SimpleNamespace(name="shop", slot=lambda _: slot)
    assert release_slot.lacks_secrets(app, given)
    release_slot.write_secrets(app, given)
    assert not release_slot.lacks_secrets(app, given | {"renew": []})
    return given


def test_a_secret_is_made_up_once(store: Path, slot: Path) -> None:
    written(slot, generated=["KEY"])
    first = private.made("shop")["KEY"]
    assert re.fullmatch(r"[\w-]{64}", first)
    private.make("shop", ["KEY", "OTHER"])
    assert private.made("shop")["KEY"] == first != private.made("shop")["OTHER"]
    assert (slot / "generated").read_text() == f'KEY="{first}"\n'
    assert not (slot / "secrets").exists()


def test_only_its_owner_reads_any_of_it(store: Path, slot: Path) -> None:
    written(slot, generated=["KEY"], secrets='{"TOKEN": "t"}', generated_as="files")
    modes = {path.stat().st_mode & 0o777 for path in [store, slot / "secrets"]}
    assert modes == {0o700}
    files = [store / "shop.json", slot / "generated", *(slot / "secrets").iterdir()]
    assert len(files) == 4
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_secret_that_is_made_up_anew_leaves_the_other_slot_what_it_has(slot: Path) -> None:
    written(slot, generated=["KEY", "OTHER"])
    had = private.generated(slot)
    private.make("shop", ["KEY", "OTHER"], ["KEY"])
    assert private.generated(slot) == had
    assert private.up_to_date("shop", slot) == ["OTHER"]
    assert private.made("shop")["OTHER"] == had["OTHER"]


def test_the_host_tells_what_the_inventory_gave_from_what_it_made_up(slot: Path) -> None:
    given = json.dumps({"A": "multi\nline ü", "B": "b"}, sort_keys=True)
    written(slot, secrets=given, generated=["KEY"], generated_as="files")
    assert private.given(slot) == given
    assert set(private.files(slot / "secrets")) == {"A", "B", "KEY"}
    assert (slot / "secrets/A").read_text() == "multi\nline ü"


def test_what_is_no_longer_asked_for_goes(slot: Path) -> None:
    written(slot, secrets='{"A": "a", "B": "b"}', generated=["KEY"], generated_as="files")
    written(slot, secrets='{"A": "a"}')
    assert private.files(slot / "secrets") == {"A": "a"}
    assert not (slot / "generated").exists()
    assert "KEY" in private.made(
        "shop"
    )  # it may be asked for again, and have signed what is still out there


def test_a_slot_without_such_secrets_has_the_settings_that_it_ever_had(slot: Path) -> None:
    (slot / "release").symlink_to("nowhere")
    before = slots.settings(slot, [])
    assert private.given(slot) == "" and private.up_to_date("shop", slot) == []
    written(slot, secrets='{"A": "a"}')
    assert slots.settings(slot, []) != before
    private.write(slot / "secrets", {})
    assert slots.settings(slot, []) == before


@pytest.mark.parametrize("value", ["a\r\nb\r\n", "a\rb", " a \n", "ä", ""])
def test_a_secret_is_the_same_when_it_is_read_again(slot: Path, value: str) -> None:
    given = json.dumps({"TOKEN": value}, sort_keys=True)
    written(slot, secrets=given)
    assert private.given(slot) == given
