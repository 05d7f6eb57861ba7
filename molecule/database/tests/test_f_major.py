"""A major version that Debian doesn't have, from a repository that is signed, as the PostgreSQL project's is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sql import answer
from tests.stack import ROOT, Stack, changes, play, said

from .conftest import SCRATCH

MAJOR = ROOT / "molecule/database/major"
URL = "http://127.0.0.1:8099"
# Of Debian 12, which is older: the server, and the libraries that Debian 13 has of other versions.
PACKAGES = "postgresql-15 postgresql-client-15 libicu72 libllvm14 libldap-2.5-0"
REPOSITORY = r"""
set -eu
export DEBIAN_FRONTEND=noninteractive GNUPGHOME=/srv/gnupg
apt-get update -qq && apt-get install -qq --no-install-recommends apt-utils gnupg >/dev/null
install -d -m 700 $GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-gen-key repository@example.org
cd /srv/pgdg && mkdir -p dists/trixie-pgdg/main/binary-amd64
apt-ftparchive packages pool > dists/trixie-pgdg/main/binary-amd64/Packages
cd dists/trixie-pgdg
apt-ftparchive -o APT::FTPArchive::Release::Suite=trixie-pgdg release . > /srv/gnupg/Release
mv /srv/gnupg/Release . && gpg --batch --yes --clearsign --output InRelease Release
gpg --export --armor > /srv/pgdg/key.asc
systemd-run --quiet --unit=pgdg python3 -m http.server 8099 --bind 127.0.0.1 --directory /srv/pgdg
"""


@pytest.fixture(scope="module")
def stack() -> Stack:
    """Return the host, on which there is no server yet."""
    return Stack("dbold", SCRATCH / "dbold.pem")


@pytest.fixture(scope="module")
def key(stack: Stack) -> Iterator[Path]:
    """Return the key of a repository that has version 15 for Debian 13."""
    older = Stack("db12", SCRATCH / "db12.pem")
    # As if nothing were installed, else what is there is what it looks for.
    download = "apt-get -o Dir::State::status=/dev/null download -qq"
    older.run(f"mkdir -p /srv/pgdg/pool && cd /srv/pgdg/pool && {download} {PACKAGES}")
    older.run("tar -C /srv -cf /home/deploy/pgdg.tar pgdg && chown deploy /home/deploy/pgdg.tar")
    carried = SCRATCH / "pgdg.tar"
    for source, target in (("db12:pgdg.tar", carried), (carried, "dbold:pgdg.tar")):
        copy("scp", "-q", "-F", ROOT / ".slipway/ssh/config", source, target)
    stack.run("tar -C /srv -xf /home/deploy/pgdg.tar")
    stack.run(REPOSITORY)
    path = SCRATCH / "pgdg.asc"
    path.write_text(stack.run("cat /srv/pgdg/key.asc"))
    yield path
    carried.unlink()


def copy(*command: str | Path) -> None:
    """Run a command, and fail with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_repository_there_is_but_one_version(stack: Stack) -> None:
    run = play("site.yml", MAJOR, "-e", "postgresql_version=15")
    assert run.returncode == 2
    assert "postgresql_version of dbold is 15, but Debian 13 has 17" in said(run)
    assert "set postgresql_repository_url" in said(run)
    assert changes(run) == {"dbold": 0}


def test_a_repository_that_is_signed_by_somebody_else_is_refused(stack: Stack, key: Path) -> None:
    another = key.with_name("another.asc")
    stack.run(
        "mkdir -m 700 -p /srv/another; GNUPGHOME=/srv/another gpg --batch --quiet --passphrase ''"
        " --quick-gen-key another@example.org; GNUPGHOME=/srv/another gpg --export --armor > /srv/another.asc"
    )
    another.write_text(stack.run("cat /srv/another.asc"))
    given = ("-e", f"postgresql_repository_url={URL}", "-e", f"postgresql_repository_key={another}")
    run = play("site.yml", MAJOR, "-e", "postgresql_version=15", *given)
    assert run.returncode == 2
    assert "NO_PUBKEY" in said(run) or "Missing key" in said(run)
    assert stack.host.run("dpkg-query -W postgresql-15").rc != 0


def test_the_server_is_of_the_version_that_was_chosen(stack: Stack, key: Path) -> None:
    given = ("-e", f"postgresql_repository_url={URL}", "-e", f"postgresql_repository_key={key}")
    run = play("site.yml", MAJOR, "-e", "postgresql_version=15", *given)
    assert run.returncode == 0, run.stdout[-4000:]
    assert answer(stack, "SHOW server_version", database="postgres").startswith("15.")
    assert answer(stack, "SHOW data_checksums", database="postgres") == "on"
    again = play("site.yml", MAJOR, "-e", "postgresql_version=15", *given)
    assert (again.returncode, changes(again)) == (0, {"dbold": 0}), again.stdout[-4000:]


def test_a_version_that_is_named_no_more_is_not_replaced(stack: Stack) -> None:
    run = play("site.yml", MAJOR)
    assert run.returncode == 2
    assert "the databases are in the cluster 15/main, and postgresql_version is 17" in said(run)
