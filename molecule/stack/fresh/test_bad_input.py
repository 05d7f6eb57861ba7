"""What is wrong is said with key, host and fix, and a bare host stays as it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, play

INVENTORY = ROOT / "molecule/stack/inventory"
HOST = Stack("stack13", Path("/nonexistent"))


def fingerprint() -> str:
    """Return what a run would change first: packages, users, units, and the folders of Slipway."""
    return HOST.run(
        "sh -c 'dpkg-query -W; cat /etc/passwd; ls -A /etc /etc/systemd/system /srv; ls -A /etc/slipway 2>&1 || true'"
    )


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Check after each test that the host is as it was before."""
    before = fingerprint()
    yield
    assert fingerprint() == before


def refused(*arguments: str) -> str:
    """Run site.yml on one host, which must fail, and return all that it said on one line."""
    run = play("site.yml", INVENTORY, "--limit", "stack13", *arguments)
    assert run.returncode != 0, run.stdout
    # YAML doubles a quote within quotes.
    return " ".join(f"{run.stdout} {run.stderr}".split()).replace("''", "'")


def apps(**changes: dict[str, object]) -> str:
    """Return an extra variable with an application for each keyword: a sound one, but for the keys given."""
    sound = {"source": "tests/apps/notes", "module": "server:application"}
    given = {
        name: sound | {"domains": [f"{name}.test"]} | change for name, change in changes.items()
    }
    return json.dumps({"fastapi_app_board": "", "apps": given})


def test_applications_with_keys_that_cannot_be() -> None:
    said = refused(
        "-e",
        apps(
            one={"modul": "x:y"}, two={"domains": ["twice.test"]}, three={"domains": ["twice.test"]}
        ),
    )
    assert "The inventory of stack13 has to be mended" in said
    assert "apps.one.modul: unknown key; did you mean module?" in said
    assert "apps.two.domains, apps.three.domains: twice.test is listed 2 times" in said


def test_applications_that_cannot_be_built() -> None:
    said = refused(
        "-e",
        apps(
            attribute={"module": "server:app"},
            module={"module": "sever:application"},
            source={"source": "tests/apps/nowhere"},
            lockfile={"lock": "nowhere.txt"},
            nolock={"source": "tests/apps/ping", "module": "ping:create_app()"},
            static={"static": {"path": "nowhere"}},
        ),
    )
    assert "stack13" in said
    assert "apps.attribute.module: server.py does not define 'app'" in said
    assert "apps.module.module: 'sever:application' is not in the source" in said
    assert "apps.source.source: " in said and "nowhere does not exist" in said
    assert "apps.lockfile.lock: no nowhere.txt in the source" in said
    assert "apps.nolock.lock: no requirements.txt or uv.lock in the source" in said
    assert "apps.static.static.path: the source has no folder 'nowhere'" in said


def test_an_application_with_the_name_of_somebody_else() -> None:
    HOST.run("useradd --system taken")
    try:
        said = refused("-e", apps(taken={}))
        assert "stack13 has, not made by Slipway: user taken" in said
        assert "another name" in said
    finally:
        HOST.run("userdel taken")


def test_an_option_that_no_role_has() -> None:
    assert "nginx_htpps_port" in (said := refused("-e", "nginx_htpps_port=444"))
    assert "nginx_https_port" in said


def test_a_host_that_ssh_does_not_reach() -> None:
    said = refused("-e", "ansible_user=stranger")
    assert "stack13: no SSH connection to stranger@" in said
    assert "ansible_user" in said


def test_a_user_that_may_not_sudo() -> None:
    HOST.run(
        "sh -c 'useradd --create-home plain && cp -r ~deploy/.ssh ~plain/ && chown -R plain: ~plain'"
    )
    try:
        said = refused("-e", "ansible_user=plain")
        assert "stack13: plain can't become root by sudo" in said
        assert "--ask-become-pass" in said
    finally:
        HOST.run("sh -c 'pkill -KILL -u plain; userdel --force --remove plain'")


def test_a_distribution_that_is_not_supported() -> None:
    ubuntu = (
        'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'
    )
    HOST.run(
        f"sh -c 'printf %s \"$0\" > /run/os-release && mount --bind /run/os-release /usr/lib/os-release' '{ubuntu}'"
    )
    try:
        said = refused("--flush-cache")
        assert "stack13" in said
        assert "Ubuntu" in said
        assert "Debian 12" in said
    finally:
        HOST.run("umount /usr/lib/os-release")


def test_a_disk_that_is_too_small() -> None:
    said = refused("-e", "baseline_disk_free_min_mb=999999999")
    assert "stack13 has" in said and "MiB free on /" in said
    assert "baseline_disk_free_min_mb" in said


def test_a_port_that_another_server_holds() -> None:
    HOST.run("systemd-run --unit=stranger python3 -m http.server 443")
    try:
        HOST.run("sh -c 'until ss -ltn | grep -q :443; do sleep 0.1; done'")
        said = refused()
        assert "stack13: port 80 or 443 is held by python3" in said
        assert "nginx_https_port" in said
    finally:
        HOST.run("systemctl stop stranger")


def test_a_dry_run_changes_nothing_and_foresees_the_stack() -> None:
    for name in ("stack13", "stack12"):
        Stack(name, HOST.ca).run("apt-get update -q")  # a dry run can't, and asks for it
    run = play("site.yml", INVENTORY, "--check", "--diff")
    assert run.returncode == 0, run.stdout[-4000:]
    for task in ("Install Nginx", "Install packages", "Write the unit"):
        assert task in run.stdout
