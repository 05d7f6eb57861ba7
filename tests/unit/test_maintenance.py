"""What playbooks/maintenance.yml is given is checked, and Nginx gets files that it can look for."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import load

APPS = ["board", "shop"]
SOUND: dict[str, Any] = {"app": "shop", "state": "on", "allow": [], "rest": ""}


@pytest.fixture(scope="module")
def maintenance() -> ModuleType:
    """Return the filters."""
    return load("plugins/filter/maintenance.py")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"state": "off"},
        {"state": True},  # as YAML reads it in -e '{"state": on}'
        {"allow": "203.0.113.7, 2001:db8::/32,10.0.0.0/12 ::1"},
        {"allow": ["203.0.113.0/25", "2001:db8::/40"]},
    ],
)
def test_nothing_is_wrong_with_what_is_sound(
    maintenance: ModuleType, given: dict[str, Any]
) -> None:
    assert maintenance.errors(SOUND | given, APPS) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"app": ""}, "app: is not given; name one with -e app=<name>: board, shop"),
        ({"app": "shpo"}, "app: is shpo; name one with -e app=<name>: board, shop"),
        ({"state": ""}, "state: is not given; write -e state=on or -e state=off"),
        ({"state": "maybe"}, "state: is maybe; write -e state=on or -e state=off"),
        (
            {"rest": "at 14:00"},
            "-e: 'at 14:00' belongs to no variable; quote the value twice, such as -e 'message=\"Back at 14:00\"'",
        ),
        (
            {"allow": "10.1.2.3/8"},
            "allow: 10.1.2.3/8 has host bits set; did you mean 10.0.0.0/8?",
        ),
        (
            {"allow": "office"},
            "allow: 'office' does not appear to be an IPv4 or IPv6 network; "
            "write addresses and networks with commas between them, such as 203.0.113.7,2001:db8::/32",
        ),
        (
            {"allow": "2001:db8::/96"},
            "allow: 2001:db8::/96 can't be told apart at the edge; "
            "take a network of /32, /48, /64, or single addresses",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_fix(
    maintenance: ModuleType, given: dict[str, Any], message: str
) -> None:
    assert maintenance.errors(SOUND | given, APPS) == [message]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("203.0.113.7", ["203.0.113.7"]),
        ("2001:0db8::0001", ["2001:db8::1"]),  # as Nginx writes it
        ("203.0.113.0/24, 10.0.0.0/8", ["10", "203.0.113"]),
        ("2001:db8::/32", ["2001:db8"]),
        ("2001:db8::/64", ["2001:db8:0:0"]),
        ("203.0.112.0/23", ["203.0.112", "203.0.113"]),
        ("203.0.113.6/31", ["203.0.113.6", "203.0.113.7"]),
    ],
)
def test_addresses_and_networks_become_names_of_files(
    maintenance: ModuleType, given: str, names: list[str]
) -> None:
    assert maintenance.allowed(given) == names


def test_a_network_is_taken_apart_without_loss(maintenance: ModuleType) -> None:
    for text in ("10.64.0.0/10", "192.0.2.0/27", "2001:da0::/27", "2001:db8:8000::/36"):
        network = ip_network(text)
        found = list(maintenance.parts(network))
        assert sum(one.num_addresses for one in found) == network.num_addresses
        assert all(one.subnet_of(network) for one in found)


# --- The module ------------------------------------------------------------------------------


class Exited(Exception):
    """What a module ends with."""


class Module:
    """Ansible's side of a module: parameters in, a result out."""

    def __init__(self, **params: Any) -> None:
        """Take parameters; ``check_mode`` is one of them."""
        self.check_mode = params.pop("check_mode", False)
        self.params = params

    def exit_json(self, **result: Any) -> None:
        """End well."""
        raise Exited(result)

    def fail_json(self, **result: Any) -> None:
        """End badly."""
        raise Exited({"failed": True, **result})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an application's folder, and below ``sites`` a site that looks for it."""
    folder = tmp_path / "maintenance" / "shop"
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites/slipway-shop.conf").write_text(f"if (-f {folder}/on) {{")
    return folder


def switch(folder: Path, state: str, **more: Any) -> dict[str, Any]:
    """Run the module."""
    module = load("roles/nginx/library/maintenance.py")
    given = {"page": "<p>", "page_from": None, "problem": "{}", "allow": []} | more
    module.SITES = folder.parents[1] / "sites"  # type: ignore[attr-defined]
    module.AnsibleModule = lambda **_: Module(folder=str(folder), state=state, **given)  # type: ignore[attr-defined]
    with pytest.raises(Exited) as ended:
        module.main()
    result: dict[str, Any] = ended.value.args[0]
    return result


def test_on_and_off_change_what_nginx_looks_for_and_say_so(folder: Path) -> None:
    assert switch(folder, "off")["changed"] is False
    assert switch(folder, "on", check_mode=True)["changed"] is True
    assert not folder.parent.exists()

    closed = switch(folder, "on", allow=["10", "::1"])
    assert closed["changed"] is True and closed["since"] > 0
    assert sorted(path.name for path in (folder / "allow").iterdir()) == ["10", "::1"]
    for path in [*folder.rglob("*"), folder, folder.parent]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)

    assert switch(folder, "on", allow=["10", "::1"])["changed"] is False
    moved = switch(folder, "on", allow=["10"], page="<h1>")
    assert moved["changed"] is True and moved["since"] == closed["since"]
    assert [path.name for path in (folder / "allow").iterdir()] == ["10"]
    assert (folder / "page.html").read_text() == "<h1>"

    assert switch(folder, "off")["changed"] is True
    assert not (folder / "on").exists()
    # A request that has seen the file a moment ago is about to read the page.
    assert (folder / "page.html").exists()


def test_an_edge_that_knows_nothing_of_it_is_no_success(folder: Path) -> None:
    (folder.parents[1] / "sites/slipway-shop.conf").write_text("server {}")
    said = switch(folder, "on")
    assert said["failed"] and "Run site.yml" in said["msg"]
    assert not folder.exists()


def test_a_page_of_its_own_is_copied_and_one_that_is_missing_is_told(folder: Path) -> None:
    own = folder.parents[1] / "own.html"
    said = switch(folder, "on", page_from=str(own))
    assert said["failed"] and "maintenance_page names a file" in said["msg"]
    assert not folder.exists()
    own.write_text("<p>ours")
    assert switch(folder, "on", page_from=str(own))["changed"] is True
    assert (folder / "page.html").read_text() == "<p>ours"


def test_what_it_did_is_shown_as_a_diff(folder: Path) -> None:
    diff = switch(folder, "on", problem=json.dumps({"status": 503}), allow=["10"])["diff"]
    assert diff["before"] == {"maintenance": "off"}
    assert diff["after"]["maintenance"] == "on" and diff["after"]["allow"] == ["10"]


def test_python_and_nginx_write_an_address_alike() -> None:
    # The longest run of zeros, and never a single one: ngx_inet6_ntop and RFC 5952.
    assert str(ip_address("2001:db8:0:1:0:0:0:1")) == "2001:db8:0:1::1"
    assert str(ip_address("2001:0:1:2:3:4:5:6")) == "2001:0:1:2:3:4:5:6"
