"""The server's packages are upgraded when somebody says so, and by nothing else; other clusters are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.load import Play
from tests.sql import answer
from tests.stack import Stack, changes, eventually, play, said

from .conftest import INVENTORY

BLACKLIST = "/etc/apt/apt.conf.d/60slipway-postgresql"
# A repository of one package: the server's own, with a higher version.
NEWER = r"""
set -eu
version=$(ls /etc/postgresql); name=postgresql-$version
mkdir -p /srv/newer && cd /srv/newer
apt-get download -qq $name >/dev/null 2>&1
dpkg-deb -R $name*.deb tree && rm $name*.deb
sed -i 's/^Version: .*/&+newer1/' tree/DEBIAN/control
dpkg-deb --root-owner-group -Znone -b tree newer.deb >/dev/null && rm -r tree
{ dpkg-deb -f newer.deb; echo "Filename: ./newer.deb"; echo "Size: $(stat -c %s newer.deb)"
  echo "SHA256: $(sha256sum newer.deb | cut -d ' ' -f 1)"; } > Packages
echo "deb [trusted=yes] file:/srv/newer ./" > /etc/apt/sources.list.d/newer.list
apt-get update -qq
"""


def installed(stack: Stack) -> str:
    """Return the version of the server's package."""
    return stack.run("dpkg-query --show --showformat '${Version}' 'postgresql-1[0-9]'")


def due(stack: Stack) -> list[str]:
    """Return what unattended-upgrades would upgrade."""
    done = stack.host.run("unattended-upgrade --dry-run --debug")
    (line,) = re.findall(
        r"(?m)^pkgs that look like they should be upgraded:(.*)$", done.stdout + done.stderr
    )
    return line.split()


def started(stack: Stack) -> str:
    """Return when the server has started."""
    return answer(stack, "SELECT pg_postmaster_start_time()")


@pytest.fixture
def newer(stack: Stack) -> Iterator[None]:
    """Have a newer minor version come out."""
    stack.run(NEWER)
    yield
    stack.run("rm -r /srv/newer /etc/apt/sources.list.d/newer.list; apt-get update -qq")


@pytest.mark.usefixtures("newer")
def test_a_minor_version_is_upgraded_by_its_playbook_and_by_nothing_else(stack: Stack) -> None:
    before, was = started(stack), installed(stack)
    stack.run(
        "DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends unattended-upgrades >/dev/null"
    )
    # Of that repository alone, not of whatever else has come out meanwhile.
    stack.run(
        "echo '#clear Unattended-Upgrade::Origins-Pattern;"
        ' Unattended-Upgrade::Origins-Pattern { "site="; };\' > /etc/apt/apt.conf.d/99newer'
    )
    assert due(stack) == []
    stack.run(f"mv {BLACKLIST} /root/")
    assert [
        name for name in due(stack) if name.startswith("postgresql-")
    ]  # so it would be, without the drop-in
    stack.run(
        f"mv /root/{BLACKLIST.rpartition('/')[2]} {BLACKLIST}; rm /etc/apt/apt.conf.d/99newer"
    )

    only = f"--limit={stack.name}"
    checked = play("playbooks/upgrade_database.yml", INVENTORY, only, "--check")
    assert checked.returncode == 0, checked.stdout[-3000:]
    assert f"PostgreSQL {was} would be upgraded" in said(checked)
    assert (started(stack), installed(stack)) == (before, was)

    run = play("playbooks/upgrade_database.yml", INVENTORY, only)
    assert run.returncode == 0, run.stdout[-3000:]
    assert f"PostgreSQL {was} was upgraded to {was}+newer1" in said(run)
    assert installed(stack) == f"{was}+newer1"
    assert started(stack) != before
    assert eventually(lambda: stack.get("https://tally.test/readyz").status_code == 200, 20)

    again = play("playbooks/upgrade_database.yml", INVENTORY, only)
    assert changes(again)[stack.name] == 0
    assert "is the newest that its repository has" in said(again)


def test_needrestart_is_told_to_leave_it_alone(stack: Stack) -> None:
    perl = (
        "our %nrconf; do '/etc/needrestart/conf.d/slipway-postgresql.conf'; die $@ if $@;"
        "for my $unit (@ARGV) { my @found = grep { $unit =~ $_ } keys %{$nrconf{override_rc}};"
        'print "$unit ", (@found ? $nrconf{override_rc}{$found[0]} : "restart"), "\\n" }'
    )
    asked = stack.host.run("perl -e %s postgresql@17-main.service nginx.service", perl)
    assert asked.stdout.split("\n")[:2] == ["postgresql@17-main.service 0", "nginx.service restart"]


def test_another_cluster_on_the_host_is_left_alone(stack: Stack, site: Play) -> None:
    version = stack.run("ls /etc/postgresql").strip()
    stack.run(f"pg_createcluster {version} other --port 5433 --start")
    try:
        seen = "SELECT pg_postmaster_start_time(), current_setting('hba_file')"
        ask = f'runuser -u postgres -- psql -XAtp 5433 -c "{seen}"'
        other = stack.run(ask)
        run = site(f"--limit={stack.name}")
        assert run.returncode == 0, run.stdout[-3000:]
        assert changes(run)[stack.name] == 0
        assert stack.run(ask) == other
        assert f"/{version}/other/pg_hba.conf" in other
    finally:
        stack.run(f"pg_dropcluster --stop {version} other")


def test_a_major_version_is_not_changed_in_passing(stack: Stack, site: Play) -> None:
    version = stack.run("ls /etc/postgresql").strip()
    run = site(
        f"--limit={stack.name}",
        "-e",
        "postgresql_version=16",
        "-e",
        "postgresql_repository_url=http://127.0.0.1/pgdg",
    )
    assert run.returncode == 2
    assert (
        f"the databases are in the cluster {version}/main, and postgresql_version is 16: set it to {version}"
        in said(run)
    )
    assert changes(run)[stack.name] == 0
