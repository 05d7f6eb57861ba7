"""Exactly what is promised can be reached from another host, and no mistake in the rules shuts their author out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.stack import ROOT, Run, Stack, eventually, play, said

INVENTORY = ROOT / "molecule/hardening/inventory"
TABLE = "nft list table inet slipway"
# An answer to whoever asks, by TCP or UDP, as a program of somebody else's would give it.
SERVER = """
import socket, sys
kind = socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM
family = socket.AF_INET6
one = socket.socket(family, kind)
one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(("::", int(sys.argv[2])))
if sys.argv[1] == "tcp":
    one.listen()
    while True:
        one.accept()[0].close()
while True:
    data, peer = one.recvfrom(100)
    one.sendto(data, peer)
"""
# Exits with 0 if there is an answer within two seconds.
ASK = (
    "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2);"
    " s.connect((sys.argv[1], int(sys.argv[2]))); s.send(b'?'); s.recv(100)"
)


@contextmanager
def server(stack: Stack, protocol: str, port: int) -> Iterator[None]:
    """Have a program listen on a host, on all its addresses."""
    unit = f"test-{protocol}-{port}"
    stack.run(
        f"systemd-run --quiet --collect --unit={unit} python3 -c '{SERVER}' {protocol} {port}"
    )
    listening = f"ss -Hln --{protocol} 'sport = :{port}'"
    assert eventually(lambda: stack.run(listening).strip())
    try:
        yield
    finally:
        stack.run(f"systemctl stop {unit}")


def states(attacker: Stack, arguments: str, target: str) -> dict[int, str]:
    """Return the state of each port that nmap names."""
    text = attacker.run(f"nmap -n -Pn -oG - {arguments} {target}")
    return {int(port): state for port, state in re.findall(r"(\d+)/([a-z|]+)/", text)}


def site(stack: Stack, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run what makes a host on one of them, with other options."""
    return play(
        "molecule/hardening/host.yml", INVENTORY, "--limit", stack.name, "-e", json.dumps(options)
    )


def opens(stack: Stack) -> bool:
    """Return whether a new connection by SSH opens."""
    command = ["ssh", "-F", str(ROOT / ".slipway/ssh/config"), "-o", "ControlPath=none"]
    command += ["-o", "ConnectTimeout=5", stack.name, "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def rules(stack: Stack) -> str:
    """Return the name of the rules that the kernel has."""
    match = re.search(r'comment "rules ([0-9a-f]{16})"', stack.run(TABLE))
    assert match
    return match[1]


@pytest.fixture
def restored(stack: Stack) -> Iterator[None]:
    """Have the host as the inventory wants it, after a test that changes it."""
    yield
    run = site(stack)
    assert run.returncode == 0, run.stdout[-4000:]


def test_exactly_the_promised_ports_are_open_by_tcp(stack: Stack, attacker: Stack) -> None:
    with server(stack, "tcp", 9100):
        # It is there, for the host itself.
        stack.run(f"timeout 2 bash -c '</dev/tcp/{stack.address}/9100'")
        found = states(
            attacker, "-sS -p- --open --min-rate 4000 --max-retries 3 -T4", stack.address
        )
    assert {port for port, state in found.items() if state == "open"} == {22, 80, 443}


def test_what_is_not_promised_gives_no_answer_at_all(stack: Stack, attacker: Stack) -> None:
    with server(stack, "tcp", 9100):
        found = states(attacker, "-sS -p 9,5432,8000,9100", stack.address)
    assert found == {9: "filtered", 5432: "filtered", 8000: "filtered", 9100: "filtered"}


def test_nor_does_it_by_udp(stack: Stack, attacker: Stack) -> None:
    ask = f'python3 -c "{ASK}" {stack.address} 5355'
    with server(stack, "udp", 5355):
        stack.run(ask)
        assert attacker.host.run(ask).rc != 0


def test_http_3_comes_through_where_it_is_spoken(stack: Stack, attacker: Stack) -> None:
    name = "tally.test"
    ask = (
        "curl --silent --insecure --http3-only --max-time 5 --output /dev/null --write-out '%{http_version}'"
        f" --resolve {name}:443:{stack.address} https://{name}/"
    )
    assert (attacker.host.run(ask).stdout == "3") == (stack.name == "hard13")


def test_ipv6_is_as_closed_and_as_open(stack: Stack, attacker: Stack) -> None:
    found = json.loads(stack.run("ip -6 -json address show dev eth0 scope link"))
    if not found or not found[0].get("addr_info"):
        pytest.skip("these hosts have no IPv6")
    address = found[0]["addr_info"][0]["local"]
    with server(stack, "tcp", 9100):
        # Without its neighbours' questions and answers none of them would be open.
        found = states(attacker, "-6 -sS -p 22,80,443,5432,9100 -e eth0", f"{address}%eth0")
    assert found == {22: "open", 80: "open", 443: "open", 5432: "filtered", 9100: "filtered"}


def test_a_ping_is_answered(stack: Stack, attacker: Stack) -> None:
    assert "Host is up" in attacker.run(f"nmap -n -sn -PE {stack.address}")


def test_ours_is_the_only_table_that_a_run_touches_and_comes_back_with_debians_unit(
    stack: Stack, restored: None
) -> None:
    theirs = "table inet theirs"
    stack.run(f"nft add {theirs}")
    stack.run("nft delete table inet slipway")
    run = site(stack)
    assert run.returncode == 0, run.stdout[-4000:]
    ours = rules(stack)
    assert theirs in stack.run("nft list tables")
    for verb in ("start", "reload", "restart"):
        # It deletes all tables first, theirs too: that is Debian's.
        stack.run(f"systemctl {verb} nftables.service")
        assert rules(stack) == ours, verb
    stack.run("systemctl stop nftables.service")


def test_a_dry_run_says_that_the_rules_are_gone_and_leaves_it_at_that(
    stack: Stack, restored: None
) -> None:
    stack.run("nft delete table inet slipway")
    run = play("molecule/hardening/host.yml", INVENTORY, "--limit", stack.name, "--check", "--diff")
    assert run.returncode == 0, run.stdout[-4000:]
    assert re.search(r"Say that the rules are not in force.*?changed:", run.stdout, re.DOTALL)
    assert stack.host.run(TABLE).rc != 0


def test_rules_that_would_shut_ansible_out_are_put_back_and_the_run_says_so(stack: Stack) -> None:
    before, proven = rules(stack), stack.run("cat /var/lib/slipway/firewall.nft")
    # What preflight can't know: that sshd isn't asked at the port at which it seems to be.
    misled = {"user": "deploy", "client": "", "port": "2200"}
    run = site(stack, slipway_way_in=misled, firewall_ssh_ports=[2200])
    assert run.returncode != 0
    assert f"{stack.name}: with the new rules no new connection came in" in said(run)
    assert rules(stack) == before
    assert stack.run("cat /var/lib/slipway/firewall.nft") == proven
    assert opens(stack)
    assert stack.host.run("systemctl is-active slipway-firewall-back.timer").rc != 0
    assert site(stack).returncode == 0


def test_they_are_put_back_though_nobody_is_left_to_do_it(stack: Stack) -> None:
    before = rules(stack)
    options = {
        "slipway_way_in": {"user": "deploy", "client": "", "port": "2200"},
        "firewall_ssh_ports": [2200],
        "firewall_confirm_seconds": 30,
    }
    run = Run(
        "molecule/hardening/host.yml", INVENTORY, "--limit", stack.name, "-e", json.dumps(options)
    )
    run.until("Come in by a new connection, and keep them", 300)
    run.kill()
    assert not opens(stack)
    assert eventually(lambda: opens(stack), 60)
    assert rules(stack) == before
    assert site(stack).returncode == 0


def test_sources_without_ones_own_are_refused(stack: Stack) -> None:
    before = rules(stack)
    run = site(stack, firewall_ssh_from=["192.0.2.1"])
    assert run.returncode != 0
    assert f"firewall_ssh_from of {stack.name} is 192.0.2.1, and Ansible comes from" in said(run)
    assert rules(stack) == before


def test_ssh_has_a_bound_for_each_client_and_others_do_not_feel_it(
    stack: Stack, attacker: Stack, restored: None
) -> None:
    run = site(stack, firewall_ssh_per_minute=5)
    assert run.returncode == 0, run.stdout[-4000:]
    ask = f"for n in 1 2 3 4 5 6 7 8; do timeout 1 bash -c '</dev/tcp/{stack.address}/22' && echo in; done"
    # A minute has twelve seconds for each: one more may get in meanwhile.
    assert 5 <= attacker.host.run(f'bash -c "{ask}"').stdout.count("in") <= 6
    assert opens(stack)


def test_without_the_firewall_there_is_nothing_left_of_it(stack: Stack, restored: None) -> None:
    stack.run("nft add table inet theirs")
    run = site(stack, firewall_enabled=False)
    assert run.returncode == 0, run.stdout[-4000:]
    assert "table inet theirs" in stack.run("nft list tables")
    assert stack.host.run(TABLE).rc != 0
    for path in ("/etc/slipway/firewall.nft", "/etc/systemd/system/slipway-firewall.service"):
        assert not stack.host.file(path).exists
    stack.run("nft delete table inet theirs")


def test_it_is_there_again_after_a_boot(stack: Stack, attacker: Stack) -> None:
    before = rules(stack)
    subprocess.run([str(ROOT / "tests/hosts/host"), "reboot", stack.name], check=True)
    assert eventually(lambda: opens(stack), 60)
    assert rules(stack) == before
    with server(stack, "tcp", 9100):
        found = states(attacker, "-sS -p 22,9100", stack.address)
    assert found == {22: "open", 9100: "filtered"}
