"""pgBackRest's configuration is what the inventory says, and pgBackRest reads it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from .conftest import Host

CONF = "etc/pgbackrest/pgbackrest.conf.j2"
S3 = {
    "name": "away",
    "type": "s3",
    "bucket": "backups",
    "endpoint": "s3.example.org",
    "uri_style": "path",
    "access_key": "id",
    "secret_key": "no=secret # at all",
    "passphrase": "p" * 20,
    "full": 5,
}
SSH = {
    "name": "store",
    "type": "ssh",
    "host": "store.example.org",
    "port": 2222,
    "user": "keeper",
    "path": "/srv/backups",
    "private_key": "-----BEGIN",
    "host_keys": ["ssh-ed25519 AAAA", "ssh-rsa BBBB"],
    "passphrase": "q" * 20,
}
LOCAL = {"name": "local", "type": "local"}


def read(host: Host, **more: Any) -> dict[str, dict[str, str]]:
    """Return the sections of pgBackRest's configuration."""
    parser = configparser.RawConfigParser(delimiters=("=",), strict=True)
    parser.read_string(host.render("backup", CONF, backup_stanza="vm1", **more))
    return {name: dict(parser[name]) for name in parser.sections()}


def test_without_a_word_it_is_a_local_repository_that_is_encrypted(host: Host) -> None:
    said = read(host)
    assert said["global"]["repo1-path"] == "/var/lib/pgbackrest"
    assert said["global"]["repo1-cipher-type"] == "aes-256-cbc"
    assert "repo1-cipher-pass" not in said["global"]  # it is generated on the host
    assert said["global"]["compress-type"] == "zst"
    assert said["global"]["repo1-bundle"] == "y"
    assert ("repo1-block" in said["global"]) == (host.debian == "13")
    version = {"12": "15", "13": "17"}[host.debian]
    assert said["vm1"]["pg1-path"] == f"/var/lib/postgresql/{version}/main"


def test_each_repository_has_its_number_and_its_own_settings(host: Host) -> None:
    said = read(host, backup_repositories=[LOCAL, S3, SSH])["global"]
    assert said["repo2-type"] == "s3"
    assert said["repo2-path"] == "/pgbackrest"
    assert said["repo2-s3-key-secret"] == "no=secret # at all"
    assert said["repo2-s3-uri-style"] == "path"
    assert said["repo2-retention-full"] == "5"
    assert said["repo2-cipher-pass"] == "p" * 20
    assert "repo2-storage-ca-file" not in said
    assert said["repo3-host"] == "store"  # as ssh's own configuration calls it
    assert said["repo3-host-user"] == "keeper"
    # Debian's own, which the account there may not read.
    assert said["repo3-host-config"] == "/dev/null"
    assert said["repo3-path"] == "/srv/backups"
    assert "repo3-type" not in said
    assert said["cmd-ssh"] == "/usr/local/lib/slipway/backup/ssh"
    assert "cmd-ssh" not in read(host, backup_repositories=[LOCAL, S3])["global"]


def test_further_settings_win(host: Host) -> None:
    said = read(host, backup_settings={"archive-async": "y", "process-max": 7})["global"]
    assert (said["archive-async"], said["process-max"]) == ("y", "7")
    said = read(host, backup_settings={"archive-async": True, "start-fast": False})["global"]
    assert (said["archive-async"], said["start-fast"]) == ("y", "n")


@pytest.mark.skipif(not shutil.which("pgbackrest"), reason="needs pgBackRest")
def test_pgbackrest_reads_it(host: Host, tmp_path: Path) -> None:
    local = LOCAL | {"passphrase": "r" * 20}
    for repositories in ([local], [local, S3]):
        text = host.render("backup", CONF, backup_stanza="vm1", backup_repositories=repositories)
        # What this machine's version may not know yet.
        lines = [line for line in text.splitlines() if "-block=" not in line]
        (tmp_path / "conf").write_text("\n".join(lines).replace("/run/postgresql", str(tmp_path)))
        command = ["pgbackrest", f"--config={tmp_path}/conf", "--stanza=vm1", "--repo=1"]
        done = subprocess.run(
            [*command, f"--log-path={tmp_path}", "--log-level-console=warn", "info"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARN" not in done.stdout + done.stderr


def test_the_server_archives_by_it(host: Host) -> None:
    text = host.render(
        "backup",
        "etc/postgresql/main/conf.d/slipway_backup.conf.j2",
        backup_stanza="vm1",
        backup_archive_timeout=30,
    )
    assert "archive_command = 'pgbackrest --stanza=vm1 archive-push %p'\n" in text
    assert "archive_timeout = 30s\n" in text


@pytest.mark.skipif(not shutil.which("ssh"), reason="needs ssh")
def test_ssh_takes_each_repository_for_what_it_is(host: Host, tmp_path: Path) -> None:
    other = SSH | {"name": "second", "host": "10.0.0.9", "port": 22}
    given = {"backup_repositories": [LOCAL, SSH, other]}
    (tmp_path / "config").write_text(
        host.render("backup", "etc/slipway/backup/ssh/config.j2", **given)
    )
    for name, wanted in (
        ("store", ["hostname store.example.org", "port 2222", "user keeper"]),
        ("second", ["hostname 10.0.0.9", "port 22", "user keeper"]),
    ):
        command = ["ssh", "-G", "-F", str(tmp_path / "config"), name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = said.splitlines()
        assert set(wanted) <= set(lines)
        assert "batchmode yes" in lines and "stricthostkeychecking true" in lines
        assert f"identityfile /etc/slipway/backup/ssh/{name}.key" in lines
        assert f"hostkeyalias {name}" in lines
    known = host.render("backup", "etc/slipway/backup/ssh/known_hosts.j2", **given).splitlines()
    assert known[-4:-2] == ["store ssh-ed25519 AAAA", "store ssh-rsa BBBB"]


def test_each_file_is_written_once_whatever_a_repository_is_called(host: Host) -> None:
    named = SSH | {"name": "config"}
    given = host.variables("backup") | {"backup_repositories": [LOCAL, named]}
    files = Templar(DataLoader(), given).template(trust_as_template("{{ __backup_files }}"))
    paths = [file["path"] for file in files]
    assert len(set(paths)) == len(paths)


def test_the_units_write_where_they_have_to_and_nowhere_else(host: Host) -> None:
    text = host.render("backup", "etc/systemd/system/slipway-backup.service.j2")
    assert "ProtectSystem=strict" in text and "User=postgres" in text
    (writes,) = [line for line in text.splitlines() if line.startswith("ReadWritePaths=")]
    assert writes.split("=")[1].split() == [
        "/run/postgresql",
        "/var/lib/slipway/backup",
        "/var/log/pgbackrest",
        "/var/lib/pgbackrest",
    ]
    drill = host.render("backup", "etc/systemd/system/slipway-drill.service.j2")
    (writes,) = [line for line in drill.splitlines() if line.startswith("ReadWritePaths=")]
    assert "/var/lib/slipway/scratch" in writes
    assert "-/var/spool/pgbackrest" in writes.split()  # archive-async, where it is there
    drill = host.render(
        "backup",
        "etc/systemd/system/slipway-drill.service.j2",
        backup_settings={"spool-path": "/srv/spool"},
    )
    assert " -/srv/spool\n" in drill
    assert "/var/lib/pgbackrest" not in writes and "/var/lib/postgresql" not in writes
