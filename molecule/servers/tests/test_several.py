"""Several application hosts behind an edge: one may die, be drained or be released, and clients don't notice."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from tests.hits import INVENTORY, asked, driven, failed_gets, received, served, unchanged
from tests.load import Source
from tests.stack import ROOT, Stack, eventually, play, said
from tests.upgrades import at_upgrade, installed, security_upgrade


def everywhere(edge: Stack, times: int = 40) -> bool:
    """Tell whether all three hosts answer."""
    return len(asked(edge, times)) == 3


def test_each_gets_its_share_by_weight(edge: Stack, stacks: list[Stack]) -> None:
    assert eventually(lambda: everywhere(edge), 30)
    shares = asked(edge, 80)
    # Several workers of Nginx share the turn, so it is exact but for where it begins and ends.
    assert abs(shares["srvapp1"] - 40) <= 2, shares
    assert abs(shares["srvapp2"] - 20) <= 2 and abs(shares["srvapp3"] - 20) <= 2, shares


def test_the_client_is_who_it_is_whatever_it_says(edge: Stack, stacks: list[Stack]) -> None:
    forged = {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https", "X-Real-IP": "192.0.2.66"}  # fmt: skip
    through = edge.get("https://hits.test/", headers=forged).json()
    assert through["scheme"] == "https" and through["client"] != "192.0.2.66"
    assert through["client"] not in (edge.address, *(stack.address for stack in stacks))
    # Past the edge, the same client is no proxy whose word counts.
    for stack in stacks:
        direct = stack.get("http://hits.test:8000/", headers=forged).json()
        assert (direct["scheme"], direct["client"]) == ("http", through["client"])


def test_one_that_is_killed_costs_no_get_and_doubles_no_post(
    edge: Stack, stacks: list[Stack]
) -> None:
    assert eventually(lambda: everywhere(edge), 30)
    victim = stacks[1]
    # It stays away: nothing of it runs, and systemd holds its port no more.
    kill = (
        "mkdir -p /run/systemd/system/hits@blue.service.d /run/systemd/system/hits@green.service.d;"
        "for slot in blue green; do"
        " printf '[Service]\\nRestart=no\\n' > /run/systemd/system/hits@$slot.service.d/no.conf; done;"
        "systemctl daemon-reload; systemctl kill --signal=KILL 'hits@*'; systemctl stop hits-8000.socket"
    )
    back = (
        "rm -r /run/systemd/system/hits@*.service.d; systemctl daemon-reload;"
        "systemctl reset-failed 'hits@*'; systemctl start hits@$(readlink /srv/hits/live | cut -d/ -f2)"
    )
    with driven("one of three killed, and it stays away", edge, stacks) as traffic:
        try:
            victim.run(kill)
            time.sleep(4)
            assert "srvapp2" not in asked(edge, 20)
        finally:
            victim.run(back)
        assert eventually(lambda: everywhere(edge), 30)
    assert failed_gets(traffic) == 0, traffic.failures()
    # A POST that was under way in it is lost, and told so: at most what its workers had in hand.
    assert traffic.failed <= 5, traffic.failures()


def test_a_port_that_was_asked_while_nothing_ran_opens_again(stacks: list[Stack]) -> None:
    stack = stacks[1]
    slot = stack.run("readlink /srv/hits/live").strip().rpartition("/")[2]
    stack.run(f"systemctl stop hits@{slot}")
    try:
        # systemd sees that somebody has come, and nobody takes the connection.
        with socket.create_connection((stack.address, 8000), timeout=5):
            taken = "systemctl is-active hits-8000.service"
            assert eventually(lambda: stack.host.run(taken).rc == 0, 5)
        stack.run("systemctl stop hits-8000.socket")
    finally:
        stack.run(f"systemctl start hits@{slot}")
    assert stack.get("http://hits.test:8000/").status_code == 200


def test_one_that_falls_off_the_network_is_left_out(edge: Stack, stacks: list[Stack]) -> None:
    assert eventually(lambda: everywhere(edge), 30)
    link = [str(ROOT / "tests/hosts/host"), "exec", "srvapp3", "ip", "link", "set", "eth0"]
    with driven("one of three off the network", edge, stacks) as traffic:
        try:
            subprocess.run([*link, "down"], check=True)
            time.sleep(6)
            assert "srvapp3" not in asked(edge, 20)
        finally:
            subprocess.run([*link, "up"], check=True)
            stacks[2].host.run("true")
    # What it had been sent and had not answered is lost: how much is a matter of the moment, and is told in the table.
    assert traffic.failed < traffic.requests / 10, traffic.failures()
    assert eventually(lambda: everywhere(edge), 40)


def test_drained_a_host_ends_what_it_has_begun_and_gets_nothing_new(
    edge: Stack, stacks: list[Stack]
) -> None:
    assert eventually(lambda: everywhere(edge), 30)
    slow: list[str] = []

    def ask() -> None:
        slow.append(edge.get("https://hits.test/slow?seconds=6", http2=False).json())

    threads = [threading.Thread(target=ask) for _ in range(12)]
    with driven("drained, and back", edge, stacks) as traffic:
        for thread in threads:
            thread.start()
        served("playbooks/drain.yml", INVENTORY, "-e", "host=srvapp1", "-e", "state=on")
        for thread in threads:
            thread.join()
        assert "srvapp1" not in asked(edge, 12)
        before = received([stacks[0]], traffic.run)
        time.sleep(1)
        assert received([stacks[0]], traffic.run) == before
        served("playbooks/drain.yml", INVENTORY, "-e", "host=srvapp1", "-e", "state=off")
        assert "srvapp1" in asked(edge, 12)
    assert traffic.failed == 0, traffic.failures()
    assert len(slow) == 12 and Counter(slow)["srvapp1"] > 0, slow


def test_patched_one_after_the_other_they_lose_no_request(edge: Stack, stacks: list[Stack]) -> None:
    assert eventually(lambda: everywhere(edge), 30)
    pair = stacks[:2]
    only = f"--limit={','.join(stack.name for stack in pair)}"
    with security_upgrade(*pair):
        for stack in pair:
            # As an upgrade of its own would, and for longer than the edge would wait for an answer unnoticed.
            slot = stack.run("readlink /srv/hits/live").strip().rpartition("/")[2]
            at_upgrade(stack, f"systemctl stop hits@{slot}; sleep 3; systemctl start hits@{slot}")
        with driven("two of three patched, one after the other", edge, stacks) as traffic:
            run = play("playbooks/patch.yml", INVENTORY, only, "-e", "reboot=never")
        assert run.returncode == 0, run.stdout[-6000:]
        assert [installed(stack) for stack in pair] == ["2.0", "2.0"]
    assert traffic.failed == 0, traffic.failures()
    assert said(run).count("srvedge sent it no requests meanwhile.") >= len(pair)
    assert eventually(lambda: everywhere(edge), 30)


def test_what_is_drained_stays_so_over_runs_and_reboots_and_status_tells(edge: Stack) -> None:
    served("playbooks/drain.yml", INVENTORY, "-e", "host=srvapp2", "-e", "state=on")
    try:
        unchanged(INVENTORY)
        subprocess.run([str(ROOT / "tests/hosts/host"), "reboot", edge.name], check=True)
        assert eventually(lambda: edge.host.run("systemctl is-active nginx").rc == 0, 30)
        assert "srvapp2" not in asked(edge, 20)
        told = play("playbooks/status.yml", INVENTORY)
        assert "srvedge sends it no new requests" in said(told), told.stdout[-4000:]
        assert "-e host=srvapp2 -e state=off" in said(told)
    finally:
        served("playbooks/drain.yml", INVENTORY, "-e", "host=srvapp2", "-e", "state=off")
    assert "srvapp2" in asked(edge, 20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["host=srvapp9", "state=on"], "name one with -e host=<name>: srvapp1, srvapp2, srvapp3"),
        (["host=srvapp1", "state=maybe"], "write -e state=on or -e state=off"),
        (["host=srvapp1", "state=on", "app=shop"], "name one of hits"),
    ],
)
def test_what_cannot_be_drained_is_refused(arguments: list[str], message: str) -> None:
    run = play("playbooks/drain.yml", INVENTORY, *(f"-e{one}" for one in arguments))
    assert run.returncode != 0 and message in said(run), run.stdout[-3000:]


def test_a_release_over_three_hosts_and_the_way_back_lose_nothing(
    edge: Stack, stacks: list[Stack], source: Source
) -> None:
    def releases() -> set[str]:
        return {stack.get("http://hits.test:8000/").json()["release"] for stack in stacks}

    (old,) = releases()
    source.change()
    with driven("a release on three hosts", edge, stacks, websocket="/ws") as traffic:
        told = served("playbooks/deploy.yml", INVENTORY)
    assert traffic.failed == 0, traffic.failures()
    assert " 0 of " in told and "requests failed" in told
    (new,) = releases()
    assert new != old
    with driven("the way back on three hosts", edge, stacks, websocket="/ws") as traffic:
        served("playbooks/rollback.yml", INVENTORY)
    assert traffic.failed == 0, traffic.failures()
    assert releases() == {old}


def test_the_one_with_the_fewest_requests_under_way_is_next(edge: Stack) -> None:
    least = ["-e", "servers_balance=least_conn"]
    served("site.yml", INVENTORY, *least, "--limit", "srvedge,srvapp1,srvapp2,srvapp3")
    try:
        # The weights count here too: to the first go twice as many before it is as busy as another.
        assert "least_conn;" in edge.run("nginx -T 2>/dev/null")
        threads = [
            threading.Thread(
                target=edge.get, args=("https://hits.test/slow?seconds=8",), kwargs={"http2": False}
            )
            for _ in range(2)
        ]
        before = asked(edge, 1)
        for thread in threads:
            thread.start()
        time.sleep(1)
        meanwhile = asked(edge, 40)
        for thread in threads:
            thread.join()
        assert before and len(meanwhile) < 3, meanwhile  # those that are busy are left alone
    finally:
        served("site.yml", INVENTORY)
