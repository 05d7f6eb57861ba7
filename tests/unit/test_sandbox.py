"""What an application may say of its sandbox, and what its units then say."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import load

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/hardening.md"


@pytest.fixture(scope="module")
def sandbox() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/sandbox.py")


def lines(sandbox: ModuleType, full: bool = True, **given: Any) -> list[str]:
    """Return the directives of an application that says this of its sandbox."""
    found: list[str] = sandbox.lines({"name": "shop", "sandbox": given}, "/srv", "50%", full)
    return found


def said(sandbox: ModuleType, name: str, full: bool = True, **given: Any) -> list[str]:
    """Return what is said of one directive, line by line."""
    found = (line.split("=", 1) for line in lines(sandbox, full, **given))
    return [value for key, value in found if key == name]


def test_it_writes_to_its_own_folders_alone(sandbox: ModuleType) -> None:
    assert said(sandbox, "ProtectSystem") == ["strict"]
    assert said(sandbox, "ReadWritePaths") == ["/run/shop /srv/shop/shared"]


def test_the_last_word_on_a_directive_is_the_applications(sandbox: ModuleType) -> None:
    assert said(sandbox, "MemoryDenyWriteExecute") == ["yes"]
    assert said(sandbox, "MemoryDenyWriteExecute", MemoryDenyWriteExecute=False) == ["no"]
    assert said(sandbox, "MemoryMax") == ["50%"]
    assert said(sandbox, "MemoryMax", MemoryMax="2G") == ["2G"]
    assert said(sandbox, "CPUQuota") == [] and said(sandbox, "CPUQuota", CPUQuota="150%") == [
        "150%"
    ]


def test_a_list_is_added_to(sandbox: ModuleType) -> None:
    ours = said(sandbox, "SystemCallFilter")
    assert said(sandbox, "SystemCallFilter", SystemCallFilter="@resources") == [*ours, "@resources"]
    added = said(sandbox, "ReadWritePaths", ReadWritePaths=["/var/spool/shop", "-/mnt/a"])
    assert added == ["/run/shop /srv/shop/shared", "/var/spool/shop -/mnt/a"]


def test_without_the_sandbox_there_is_what_was_ever_there(sandbox: ModuleType) -> None:
    kept = {line.partition("=")[0] for line in lines(sandbox, full=False)}
    assert kept == {
        *("NoNewPrivileges", "PrivateTmp", "ProtectSystem", "ProtectHome", "ReadWritePaths"),
        *("CapabilityBoundingSet", "RestrictSUIDSGID", "UMask"),
    }
    assert said(sandbox, "ProtectClock", full=False, ProtectClock=True) == ["yes"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"MemoryDenyWriteExec": False}, "did you mean MemoryDenyWriteExecute?"),
        ({"MemoryMax": "2 GB"}, "'2 GB' won't do; it takes bytes with K, M or G"),
        ({"MemoryMax": True}, "'yes' won't do"),
        ({"PrivateDevices": "maybe"}, "'maybe' won't do; it takes true or false"),
        ({"ProtectSystem": "lax"}, "it takes false or true or full or strict"),
        ({"ReadWritePaths": "var/spool"}, "it takes absolute paths"),
        ({"ReadWritePaths": ["/var/%i"]}, "it takes absolute paths"),
        ({"IPAddressDeny": "300.0.0.1"}, "it takes addresses, networks"),
        ({"IPAddressAllow": ["localhost", "10.0.0.0/33"]}, "it takes addresses, networks"),
        ({"SystemCallFilter": "@resources ~@clock"}, "it takes system calls"),
        ({"CPUWeight": 0}, "it takes a number from 1 to 10000"),
        ({"MemoryMax": ["1G", "2G"]}, "it takes bytes"),
        ({"MemoryMax": "1G\nUser=root"}, "it takes bytes"),
        ({"InaccessiblePaths": ["/a\nUser=root"]}, "it takes absolute paths"),
        ({"UMask": {"a": 1}}, "it takes an octal mask"),
        ({"UMask": 0o177}, "'127' won't do; it takes an octal mask in quotes"),
    ],
)
def test_what_systemd_would_leave_out_in_silence_is_refused(
    sandbox: ModuleType, given: dict[str, Any], wrong: str
) -> None:
    (message,) = sandbox.errors("apps.shop.sandbox", given)
    (name,) = given
    assert message.startswith(f"apps.shop.sandbox.{name}: ")
    assert wrong in message


@pytest.mark.parametrize(
    "given",
    [
        {"MemoryMax": "75%", "MemoryHigh": "1G", "MemorySwapMax": 0, "TasksMax": 4096},
        {"IPAddressDeny": "any", "IPAddressAllow": ["localhost", "10.0.0.0/8", "2001:db8::1"]},
        {"SystemCallFilter": "~@keyring io_uring_setup", "RestrictAddressFamilies": "AF_PACKET"},
        {"PrivateDevices": False, "DeviceAllow": "/dev/video0 rw"},
        {"UMask": "0077", "ProtectHome": "read-only", "PrivateNetwork": True},
    ],
)
def test_what_systemd_takes_is_taken(sandbox: ModuleType, given: dict[str, Any]) -> None:
    assert list(sandbox.errors("apps.shop.sandbox", given)) == []


def test_every_default_is_one_that_could_be_given(sandbox: ModuleType) -> None:
    for name, directive in sandbox.DIRECTIVES.items():
        for line in directive.default:
            given = line.format(app="shop", home="/srv/shop", memory="75%")
            if given:
                assert list(sandbox.errors("it", {name: given})) == [], name


def test_the_document_lists_each_directive_with_its_default(sandbox: ModuleType) -> None:
    rows = re.findall(r"(?m)^\| `([A-Z]\w+)` \| (.*?) \|", DOCUMENT.read_text())
    facts = {"app": "<app>", "home": "/srv/<app>", "memory": "75%"}
    wanted = {
        name: "<br>".join(
            f"`{line.format(**facts)}`" if line else "none" for line in directive.default
        )
        or "not set"
        for name, directive in sandbox.DIRECTIVES.items()
    }
    assert dict(rows) == wanted
