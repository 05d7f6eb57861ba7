"""A restore to a time goes beside the live server, which doesn't notice, and is refused where it can't be."""

from __future__ import annotations

import time
import uuid

import pytest
from tests.backups import Figure, Kept, figures, run
from tests.stack import said

SOCKET = "/var/lib/slipway/scratch/restored"


def test_a_restore_to_a_time_is_beside_the_live_server(stacks: list[Kept], figure: Figure) -> None:
    # On the host whose repository away is reached by SSH, and from there.
    stack = stacks[1]
    mark = uuid.uuid4().hex
    stack.write(mark, 1)
    time.sleep(1.1)
    moment = stack.sql("SELECT now()")
    time.sleep(1.1)
    stack.write(mark, 2)
    done = run(
        *(
            "playbooks/restore.yml",
            "-e",
            f"host={stack.name}",
            "-e",
            f'to="{moment}"',
            "-e",
            "repository=away",
        )
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "in repository away" in said(done)
    assert "It goes into a server of its own, beside the live one" in said(done)
    assert f"sudo -u postgres psql -h {SOCKET}" in said(done)
    assert stack.rows(mark, SOCKET) == {1}
    assert stack.rows(mark) == {1, 2}
    took = figures(done.stdout)
    figure(f"{stack.name}: restore to a time in {took['seconds']} s")


def test_it_listens_on_no_port_and_archives_nothing(stacks: list[Kept]) -> None:
    stack = stacks[1]
    assert "postgres" not in stack.run("ss --no-header --listening --tcp --processes")
    psql = f"runuser -u postgres -- psql -XAt -h {SOCKET} -c"
    assert stack.run(f"{psql} 'SHOW archive_mode'").strip() == "off"
    assert stack.run(f"{psql} 'SHOW listen_addresses'").strip() == ""


def test_it_is_dropped_by_a_word(stacks: list[Kept]) -> None:
    stack = stacks[1]
    done = run("playbooks/restore.yml", "-e", f"host={stack.name}", "-e", "scratch=remove")
    assert done.returncode == 0, done.stdout[-4000:]
    assert stack.host.run("systemctl is-active slipway-scratch").stdout.strip() == "inactive"
    assert not stack.host.file(SOCKET).exists


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["-e", "to=latest"], "host: is not given; name one of bak13, bak12"),
        (["-e", "to=latest", "-e", "live=other"], "live: is other; name one of bak13, bak12"),
        (["-e", "host=bak13"], "to: is not given; write -e to=latest"),
        (
            ["-e", "host=bak13", "-e", "to=nonsense"],
            "to is 'nonsense'; write latest, a time such as",
        ),
        (["-e", "host=bak13", "-e", "to='2020-01-01 00:00:00+00:00'"], "has no backup from before"),
        (["-e", "host=bak13", "-e", "to='2222-01-01 00:00:00+00:00'"], "which is yet to come"),
    ],
)
def test_what_can_not_be_is_refused(stack: Kept, given: list[str], wanted: str) -> None:
    done = run("playbooks/restore.yml", *given)
    assert done.returncode != 0
    assert wanted in said(done)
