"""A host is lost, and another one takes its place: what it then backs up is what the next restore begins with."""

from __future__ import annotations

import uuid

from tests.backups import Kept, run, serves
from tests.stack import eventually, said

SITE = ("site.yml", "--limit", "bak13", "-e", "postgresql_restart=true")
HERE = ("-e", "host=bak13")
SOCKET = "/var/lib/slipway/scratch/restored"
# All that was on its disk but for the application; the repository away is what is left.
LOST = """
systemctl stop 'slipway-*.timer' 'tally@*'
pg_dropcluster --stop 17 main; rm -rf /etc/postgresql/17/main; pg_createcluster --start 17 main
rm -rf /var/lib/pgbackrest/* /var/lib/slipway/backup/* /etc/slipway/backup/local.passphrase
"""


def test_a_new_host_takes_the_place_of_one_that_is_lost(stack: Kept) -> None:
    mark = uuid.uuid4().hex
    stack.write(mark, 1)
    assert run("playbooks/backup.yml", "--limit", "bak13").returncode == 0
    before = stack.info(2)[-1]["label"]
    stack.run(LOST)

    done = run(*SITE)
    assert done.returncode != 0
    assert "bak13: repository away has the stanza bak13 of another server" in said(done)

    done = run("playbooks/restore.yml", "-e", "to=latest", "-e", "live=bak13")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "there is NO backup of it until site.yml has run" in said(done)

    done = run(*SITE)
    assert done.returncode == 0, done.stdout[-6000:]
    assert serves(stack)
    assert stack.rows(mark) == {1}

    def backed_up() -> bool:
        return all(of.get("backup") for of in stack.repositories.values())

    assert eventually(backed_up, 180), stack.journal("slipway-backup@full")
    last = stack.info(2)[-1]
    assert last["type"] == "full" and last["label"] != before
    for repository in ("local", "away"):
        assert stack.drill(repository) == (True, "")

    # Were it lost again, nothing would be taken from the time of the first one.
    stack.write(mark, 2)
    done = run("playbooks/restore.yml", *HERE, "-e", "to=latest", "-e", "repository=away")
    assert done.returncode == 0, done.stdout[-6000:]
    assert f"the full backup {last['label']}" in said(done)
    assert stack.rows(mark, SOCKET) == {1, 2}
    assert run("playbooks/restore.yml", *HERE, "-e", "scratch=remove").returncode == 0
