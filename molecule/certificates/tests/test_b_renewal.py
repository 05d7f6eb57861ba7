"""A renewal is not noticed by clients, and one that fails leaves what is served as it is."""

from __future__ import annotations

import json
import time

import pytest
from tests.certificates import INVENTORY, Edge, dns, load, site
from tests.stack import ROOT, changes, eventually, play, said


def test_a_renewal_loses_no_request(stack: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    before = stack.serial("web")
    with load(stack, "web") as driven:
        time.sleep(1)
        done = stack.order("web")
        time.sleep(1)
    assert done.rc == 0, done.stdout + done.stderr
    assert stack.renewed("web", before)
    sent, failed = driven.result["requests"], driven.result["failed"]
    with capsys.disabled():
        print(
            f"\n{stack.name}: {failed} of {sent} requests failed, worst {driven.result['worst_ms']} ms"
        )
    assert sent > 100
    assert failed == 0, driven.result["failures"]


def test_an_authority_that_is_down_leaves_the_old_one(stack: Edge) -> None:
    before = stack.serial("web")
    stack.run("cp /etc/hosts /run/hosts && echo '127.0.0.1 ca13' >> /etc/hosts")
    try:
        done = stack.order("web")
    finally:
        stack.run("cat /run/hosts > /etc/hosts")
    assert done.rc == 1
    assert (stack.serial("web"), stack.answers()) == (before, 200)
    assert play("playbooks/status.yml", INVENTORY, "-e", "output=json").returncode == 0
    rows = json.loads((ROOT / ".slipway/status.json").read_text())["applications"]
    row = next(row for row in rows if (row["host"], row["app"]) == (stack.name, "web"))
    (problem,) = row["problems"]
    assert "could not be renewed" in problem["seen"] and "ca13" in problem["seen"]
    # The timer's service tries again what has failed, however long it has left.
    stack.run("systemctl start slipway-acme.service")
    assert stack.renewed("web", before)


def test_what_nginx_refuses_is_taken_back(stack: Edge) -> None:
    before = stack.serial("web")
    stack.run("echo 'nonsense;' > /etc/nginx/conf.d/broken.conf")
    try:
        done = stack.order("web")
        assert done.rc == 1 and "nginx -t" in done.stdout
        assert stack.serial("web") == before
    finally:
        stack.run("rm /etc/nginx/conf.d/broken.conf")
    stack.run("nginx -t -q")
    # It has come already, and isn't ordered twice.
    issued = "ls /etc/slipway/acme/archive/web/cert*.pem | wc -l"
    count = stack.run(f"sh -c '{issued}'")
    stack.run("systemctl start slipway-acme.service")
    assert stack.renewed("web", before)
    assert stack.run(f"sh -c '{issued}'") == count


def test_a_challenge_that_fails_is_told_and_leaves_the_site(stacks: list[Edge]) -> None:
    before = [stack.serial("web") for stack in stacks]
    for stack in stacks:
        dns("clear-a", host=f"{stack.domain('late')}.")
    more = {"web_more": ["late.{{ zone }}"]}
    run = site(**more)
    assert run.returncode != 0
    for stack in stacks:
        assert f"{stack.name} has not got every certificate from https://ca13:14000/dir" in said(
            run
        )
        assert stack.domain("late") in said(run)
    assert "apps.web.tls: " in said(run)
    assert [stack.serial("web") for stack in stacks] == before
    assert [stack.answers() for stack in stacks] == [200, 200]

    for stack in stacks:
        dns("add-a", host=f"{stack.domain('late')}.", addresses=[stack.address])
    run = site(**more)
    assert run.returncode == 0, run.stdout[-4000:]
    assert [stack.answers("late") for stack in stacks] == [200, 200]


def test_one_near_its_end_is_renewed_by_the_timers_service(stacks: list[Edge]) -> None:
    run = site(
        certificates_acme_directory="https://ca13:14001/dir"
    )  # whose are good for 75 seconds
    assert run.returncode == 0, run.stdout[-4000:]
    first = [stack.certificate("web") for stack in stacks]
    assert all((c.not_valid_after_utc - c.not_valid_before_utc).seconds < 80 for c in first)

    def old() -> bool:  # less than a third is left, and time for the second host's order
        now = time.time()
        return all(c.not_valid_after_utc.timestamp() - now < 22 for c in first)

    assert eventually(old, 80)
    for stack, certificate in zip(stacks, first, strict=True):
        stack.run("systemctl start slipway-acme.service")
        assert stack.renewed("web", certificate.serial_number)
        renewed = stack.certificate("web")
        assert renewed.not_valid_after_utc > certificate.not_valid_after_utc
        # A second later it has nothing to do.
        stack.run("systemctl start slipway-acme.service")
        assert stack.serial("web") == renewed.serial_number
    assert all(
        "slipway-acme.service" in stack.run("systemctl list-timers slipway-acme.timer")
        for stack in stacks
    )


def test_then_a_run_changes_nothing(stacks: list[Edge]) -> None:
    assert site().returncode == 0  # back to the directory of the inventory
    run = site()
    assert run.returncode == 0, run.stdout[-4000:]
    assert {changes(run)[stack.name] for stack in stacks} == {0}, run.stdout
