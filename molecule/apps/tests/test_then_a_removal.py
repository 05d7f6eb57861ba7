"""An application that is to be absent leaves nothing but its data, or not even these; the others don't notice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from tests.stack import Stack, changes, play

# A run is for all hosts; where it goes is no matter here, and one of them is quicker.
pytestmark = pytest.mark.parametrize("stack", ["apps12"], indirect=True)

ABSENT = {"state": "absent"}
ABSENT_WITH_DATA = {"state": "absent", "delete_data": True}
PICTURE = "https://shop.test/products/2/picture"
# What opens the team's server, and of desk's password and notes' secret what no quoting changes.
SECRETS = (os.environ["TEAM_PASSWORD"], "p@ss", "p%40ss", "second line # with")


def site(
    stack: Stack, inventory: Path, *arguments: str, **altered: Mapping[str, object]
) -> dict[str, int]:
    """Run site.yml with some applications altered, and return how much has changed."""
    apps = yaml.safe_load((inventory / "group_vars/all.yml").read_text())["apps"]
    given = {name: {**app, **altered.get(name, {})} for name, app in apps.items()}
    variables = json.dumps({"apps": given})
    run = play("site.yml", inventory, "--limit", stack.name, *arguments, "-e", variables)
    assert run.returncode == 0, run.stdout[-4000:]
    for secret in SECRETS:
        assert secret not in run.stdout + run.stderr
    return changes(run)


@contextmanager
def undisturbed(stack: Stack, *urls: str) -> Iterator[None]:
    """Ask other applications all the while; each answer must be 200."""
    over = threading.Event()
    answers: list[tuple[str, int | str]] = []

    def ask() -> None:
        while not over.wait(0.1):
            for url in urls:
                try:
                    # Where Nginx reloads, HTTP/2 has a client ask again, which this one doesn't know.
                    said: int | str = stack.get(url, http2=False).status_code
                except httpx.HTTPError as error:
                    said = repr(error)
                answers.append((url, said))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(answers) > 20
    assert [answer for answer in answers if answer[1] != 200] == []


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
    """Return the databases and roles whose name begins so."""
    kinds = "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles"
    statement = f"SELECT string_agg(name, ' ' ORDER BY name) FROM ({kinds}) AS all_of (name) WHERE name ~ '^({name})'"
    return stack.run(f'runuser -u postgres -- psql -XAt -c "{statement}"').strip()


def test_two_go_and_leave_their_data(stack: Stack, inventory: Path) -> None:
    number = stack.run("id -u shop").strip()
    assert stack.request("PUT", PICTURE, content=b"kept").status_code == 204
    others = ("https://team.test/ping/", "https://desk.test/api/health", "https://desk.test/")
    # notes shares a domain with ping: so far site and certificate were called after it.
    with undisturbed(stack, *others, "https://relay.test/status"):
        assert site(stack, inventory, shop=ABSENT, notes=ABSENT)[stack.name] > 0
    for name in ("shop", "notes"):
        kept = (f"/srv/{name}", f"/var/log/nginx/{name}.")
        assert [trace for trace in traces(stack, name) if not trace.startswith(kept)] == []
        assert stack.run(f"ls -A /srv/{name}").split() == ["shared"]
    assert stack.run("cat /srv/shop/shared/uploads/2.png") == "kept"
    assert data(stack, "shop") == "shop shop shop_migrator shop_owner shop_readonly"
    with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized[ _]name"):
        stack.get("https://shop.test/health")
    assert stack.get("https://team.test/notes/up").status_code == 404
    # The number that its user had is somebody else's from now on, and nothing of it is theirs.
    stack.run(f"sh -c 'id newcomer || useradd --system --uid {number} newcomer'")
    assert stack.run("find / -xdev -user newcomer") == ""


def test_one_comes_back_to_its_data_and_one_goes_with_its_data(
    stack: Stack, inventory: Path
) -> None:
    with undisturbed(stack, "https://team.test/ping/", "https://relay.test/status"):
        site(stack, inventory, "--diff", "-vvv", notes=ABSENT, desk=ABSENT_WITH_DATA)
    assert stack.get("https://shop.test/purchases/1").status_code == 200
    assert stack.get(PICTURE).content == b"kept"
    assert stack.request("PUT", PICTURE, content=b"still writable").status_code == 204

    assert traces(stack, "desk") == []
    assert data(stack, "desk|helpdesk") == ""


def test_and_then_that_is_all(stack: Stack, inventory: Path) -> None:
    assert site(stack, inventory, notes=ABSENT, desk=ABSENT_WITH_DATA) == {stack.name: 0}
