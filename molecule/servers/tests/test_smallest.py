"""The smallest form, without an edge: Gunicorn or Uvicorn on a port that systemd holds, released without loss."""

from __future__ import annotations

import http.client
import subprocess
import time
from pathlib import Path

import pytest
from tests.hits import ALONE, driven, served, unchanged
from tests.load import Source
from tests.stack import ROOT, Stack, eventually, play, said


def home(stack: Stack) -> dict[str, str]:
    """Return what the application on a host says of itself; nothing if it doesn't answer."""
    try:
        found: dict[str, str] = stack.get("http://hits.test/").json()
    except OSError:
        found = {}
    return found


def test_each_server_answers_and_a_client_cannot_forge_who_it_is(lonely: list[Stack]) -> None:
    forged = {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https"}
    for stack in lonely:
        plain, lied = home(stack), stack.get("http://hits.test/", headers=forged).json()
        assert plain["host"] == stack.name and plain == lied
        assert plain["scheme"] == "http" and plain["client"] != "192.0.2.66"
    commands = [
        stack.run("ps -o args= -u hits").replace(" -", "\n").split("\n")[0] for stack in lonely
    ]
    assert "gunicorn" in commands[0] and "gunicorn" not in commands[1], commands


def test_a_second_run_changes_nothing_and_a_dry_run_foresees_it(lonely: list[Stack]) -> None:
    unchanged(ALONE)


def test_a_release_and_the_way_back_lose_nothing(lonely: list[Stack], source: Source) -> None:
    old = {stack.name: home(stack)["release"] for stack in lonely}
    for step in ("deploy", "rollback"):
        if step == "deploy":
            source.change()
        gun, uvi = lonely
        more = {"tls": False, "port": 80, "websocket": "/ws"}
        with (
            driven(f"{step}, Gunicorn alone", gun, [gun], **more) as first,
            driven(f"{step}, Uvicorn alone", uvi, [uvi], **more) as second,
        ):
            told = served(f"playbooks/{step}.yml", ALONE)
            time.sleep(6)  # until the slot that served has closed its idle connections
        assert (first.failed, second.failed) == (0, 0), f"{first.failures()}\n{second.failures()}"
        assert " 0 of " in told and "requests failed" in told
        now = {stack.name: home(stack)["release"] for stack in lonely}
        assert all((now[name] != old[name]) == (step == "deploy") for name in now)


def test_a_kept_connection_is_told_to_close_and_not_cut(
    lonely: list[Stack], source: Source
) -> None:
    connections = [http.client.HTTPConnection(stack.address, 80, timeout=10) for stack in lonely]
    for connection in connections:
        connection.request("GET", "/")
        assert connection.getresponse().read()
    before = [connection.sock for connection in connections]
    links = [stack.run("readlink /srv/hits/live").strip() for stack in lonely]
    for stack, link in zip(lonely, links, strict=True):
        other = {"slots/blue": "slots/green", "slots/green": "slots/blue"}[link]
        # The switch alone, as a release does it: the old slot runs on, and serves no more.
        stack.run(f"systemctl start hits@{other.rpartition('/')[2]}")
        stack.run(f"ln -sfn {other} /srv/hits/live.new && mv -T /srv/hits/live.new /srv/hits/live")
    try:
        time.sleep(0.5)
        for connection, sock in zip(connections, before, strict=True):
            assert connection.sock is sock
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close")
    finally:
        for stack, link in zip(lonely, links, strict=True):
            stack.run(
                f"ln -sfn {link} /srv/hits/live.new && mv -T /srv/hits/live.new /srv/hits/live"
            )


def test_while_the_server_is_away_for_a_moment_clients_wait_and_are_not_refused(
    lonely: list[Stack],
) -> None:
    for stack in lonely:
        stack.run("systemctl kill --signal=KILL 'hits@*'")
        # systemd holds the port, so that the connection is made; the next worker answers it.
        assert home(stack)["host"] == stack.name


def test_it_comes_back_after_a_reboot(lonely: list[Stack]) -> None:
    for stack in lonely:
        release = home(stack)["release"]
        subprocess.run([str(ROOT / "tests/hosts/host"), "reboot", stack.name], check=True)
        assert eventually(lambda s=stack: home(s), 30)["release"] == release


def test_what_takes_an_edge_says_so(lonely: list[Stack]) -> None:
    run = play("playbooks/maintenance.yml", ALONE, "-e", "app=hits", "-e", "state=on")
    assert run.returncode != 0 and "no host is in the group edge" in said(run)
    told = play("playbooks/status.yml", ALONE)
    assert told.returncode == 0 and "not in edge" not in said(told), told.stdout


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("static", "{path: static/}", "apps.hits.static: takes an edge"),
        ("path", "/hits", "apps.hits.path: takes an edge"),
        (
            "database",
            "{name: hits}",
            "apps.hits.database: srvgun is not in the group db, nor is another",
        ),
        ("port", "22", "apps.hits.port: 22 is held by sshd"),
        ("port", "70000", "apps.hits.port: 70000 is not a port"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_touched(
    lonely: list[Stack], tmp_path: Path, key: str, value: str, message: str
) -> None:
    text = (ALONE / "group_vars/all.yml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith(f"    {key}:")]
    entry = lines.index("    module: main:app")
    lines.insert(entry, f"    {key}: {value}")
    (tmp_path / "vars.yml").write_text(
        "\n".join(lines[: lines.index("")]).replace("servers_scratch", "scratch")
    )
    scratch = ALONE.parents[2] / ".slipway/servers"
    run = play("site.yml", ALONE, f"-e@{tmp_path / 'vars.yml'}", f"-escratch={scratch}")
    assert run.returncode != 0 and message in said(run), run.stdout[-3000:]
    assert "changed=1" not in run.stdout
