"""An application that is to be absent leaves nothing but its data, or not even these; the others don't notice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from tests.stack import Stack, changes, play

ABSENT: dict[str, object] = {"state": "absent"}
PICTURE = "https://shop.test/products/2/picture"
# What opens the team's server, and of desk's password and notes' secret what no quoting changes.
SECRETS = (os.environ["TEAM_PASSWORD"], "p@ss", "p%40ss", "second line # with")
OTHERS = (
    "https://team.test/ping/",
    "https://desk.test/api/health",
    "https://desk.test/",
    "https://relay.test/status",
)


def site(inventory: Path, *arguments: str, **altered: dict[str, object]) -> dict[str, int]:
    """Run site.yml with some applications altered, and return how much has changed on each host."""
    apps = yaml.safe_load((inventory / "group_vars/all.yml").read_text())["apps"]
    given = {name: app | altered.get(name, {}) for name, app in apps.items()}
    run = play("site.yml", inventory, *arguments, "-e", json.dumps({"apps": given}))
    assert run.returncode == 0, run.stdout[-4000:]
    for secret in SECRETS:
        assert secret not in run.stdout + run.stderr
    return changes(run)


@contextmanager
def unnoticed(stacks: list[Stack]) -> Iterator[None]:
    """Ask the other applications all the while; each answer must be 200."""
    over = threading.Event()
    answers: list[tuple[str, str, int | str]] = []

    def ask(stack: Stack) -> None:
        while not over.is_set():
            for url in OTHERS:
                try:
                    # Where Nginx reloads, HTTP/2 has a client ask again, which this one doesn't know.
                    said: int | str = stack.get(url, http2=False).status_code
                except httpx.HTTPError as error:
                    said = repr(error)
                answers.append((stack.name, url, said))
            over.wait(0.2)

    threads = [threading.Thread(target=ask, args=(stack,)) for stack in stacks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert len(answers) > 20
    assert [answer for answer in answers if answer[2] != 200] == []


def traces(stack: Stack, name: str) -> list[str]:
    """Return what a host has of an application: users, units, processes, and files by name and by content."""
    looks = (
        f"getent passwd {name} {name}_migrator; getent group {name}; getent group www-data | grep -w {name}",
        f"systemctl list-units --all --plain --no-legend '{name}@*' '{name}-*'",
        f"systemctl list-unit-files --plain --no-legend '{name}@*' '{name}-*'",
        f"pgrep --list-full --full '/srv/{name}/'",
        f"find / -xdev -not -path '/proc/*' -not -path '/usr/*' -name '*{name}*'",
        # Debian keeps /etc/passwd- and its like, as they were before. Neither a comment nor a MIME type is a trace.
        f"grep -rIw --devices=skip --exclude='*-' --exclude=mime.types {name} /etc /run /var/spool | grep -v ':#'",
    )
    said = [stack.host.run("sh -c %s", look).stdout.splitlines() for look in looks]
    # The first look finds the words of its own command line.
    return sorted({line for lines in said for line in lines if "pgrep" not in line})


def data(stack: Stack, name: str) -> str:
    """Return the databases and roles with a name."""
    kinds = "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles"
    statement = f"SELECT string_agg(name, ' ' ORDER BY name) FROM ({kinds}) AS all_of (name) WHERE name ~ '^{name}'"
    return stack.run(f'runuser -u postgres -- psql -XAt -c "{statement}"').strip()


def test_two_go_and_leave_their_data(stacks: list[Stack], inventory: Path) -> None:
    numbers = [stack.run("id -u shop").strip() for stack in stacks]
    # notes shares a domain: so far its site and its certificate were called after it.
    with unnoticed(stacks):
        changed = site(inventory, shop=ABSENT, notes=ABSENT)
    assert min(changed.values()) > 0
    for stack, number in zip(stacks, numbers, strict=True):
        for name in ("shop", "notes"):
            kept = (f"/srv/{name}", f"/var/log/nginx/{name}.")
            assert [trace for trace in traces(stack, name) if not trace.startswith(kept)] == []
            assert stack.run(f"ls -A /srv/{name}").split() == ["shared"]
        assert stack.run("cat /srv/shop/shared/uploads/2.png") == "renewed"
        assert data(stack, "shop") == "shop shop shop_migrator shop_owner"
        with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized[ _]name"):
            stack.get("https://shop.test/health")
        assert stack.get("https://team.test/notes/up").status_code == 404
        # The number that its user had is somebody else's from now on, and nothing of it is theirs.
        stack.run(f"sh -c 'id newcomer || useradd --system --uid {number} newcomer'")
        assert stack.run("find / -xdev -user newcomer") == ""
    assert site(inventory, "--limit", "apps13", shop=ABSENT, notes=ABSENT) == {"apps13": 0}


def test_they_come_back_and_find_their_data(stacks: list[Stack], inventory: Path) -> None:
    with unnoticed(stacks):
        site(inventory, "--diff", "-vvv")
    for stack in stacks:
        assert stack.get("https://shop.test/purchases/1").status_code == 200
        assert stack.get(PICTURE).content == b"renewed"
        assert stack.request("PUT", PICTURE, content=b"once more").status_code == 204
        assert stack.get("https://team.test/notes/up").status_code == 200


def test_one_goes_with_its_data(stacks: list[Stack], inventory: Path) -> None:
    with unnoticed(stacks):
        site(inventory, shop=ABSENT | {"delete_data": True})
    for stack in stacks:
        assert traces(stack, "shop") == []
        assert data(stack, "shop") == ""
