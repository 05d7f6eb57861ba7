"""The status tells what is so on each host, and what to do where something isn't well."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stack import ROOT, Stack, eventually, play

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(stack: Stack, inventory: Path) -> Ask:
    """Return what asks for the status of the host."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return play("playbooks/status.yml", inventory, "--limit", stack.name, *arguments)

    return run


def row(run: subprocess.CompletedProcess[str], app: str) -> dict[str, str]:
    """Return an application's line of the table, by the heads of its columns."""
    assert run.returncode == 0, run.stdout[-3000:]
    lines = [line.strip() for line in run.stdout.splitlines()]
    head = next(line for line in lines if line.startswith("host "))
    line = next(line for line in lines if re.match(rf"\S+ +{app} ", line))
    names = re.split(r" {2,}", head)
    starts = [re.search(rf"\b{name}\b", head).start() for name in names]  # type: ignore[union-attr]
    ends = [*starts[1:], None]
    return {n: line[s:e].strip() for n, s, e in zip(names, starts, ends, strict=True)}


def slot(stack: Stack, app: str) -> str:
    """Return the slot that serves."""
    return stack.run(f"readlink /srv/{app}/live").strip().removeprefix("slots/")


def test_it_tells_what_serves_and_changes_nothing(stack: Stack, ask: Ask) -> None:
    said = ask()
    assert "changed=0" in said.stdout and not re.search("changed=[1-9]", said.stdout)
    for app in ("board", "notes", "ping"):
        found = row(said, app)
        assert found["host"] == stack.name
        assert re.fullmatch(r"200, \d+ ms", found["health"])
        alive, wanted = found["workers"].split("/")
        assert alive == wanted
        assert re.fullmatch(r"\d+ (s|min|h|d)", found["age"])
        assert re.fullmatch(r"3\d\d d", found["certificate"])
        assert found["maintenance"] == "off"
        assert found["last deploy"].startswith("succeeded ")
    notes = row(said, "notes")
    assert stack.get("https://notes.test/up").json()["release"] == notes["release"].split()[0]
    assert notes["slot"].split(",")[0] == slot(stack, "notes")


def test_an_application_that_is_stopped_stands_out_with_the_next_step(
    stack: Stack, ask: Ask
) -> None:
    unit = f"notes@{slot(stack, 'notes')}"
    stack.run(f"systemctl stop {unit}")
    try:
        said = ask()
    finally:
        stack.run(f"systemctl start {unit}")
    found = row(said, "notes")
    assert found["health"] == "NO ANSWER"
    assert found["workers"] == "0/1"
    assert f"{unit}.service is inactive." in said.stdout
    assert f"-> On {stack.name}: journalctl -u {unit} -n 50" in said.stdout
    assert row(said, "board")["health"].startswith("200, ")


def test_a_restart_that_nobody_asked_for_is_told(stack: Stack, ask: Ask) -> None:
    unit = f"ping@{slot(stack, 'ping')}"
    before = row(ask(), "ping")["age"]
    assert before
    stack.run(f"systemctl kill --signal=KILL --kill-whom=main {unit}")
    assert eventually(
        lambda: stack.host.run(f"systemctl is-active {unit}").stdout.strip() == "active"
    )
    said = ask()
    assert f"systemd has restarted {unit}.service once since the switch" in said.stdout
    stack.run(f"systemctl restart {unit}")
    assert "has restarted" not in ask().stdout


def test_maintenance_is_not_forgotten(stack: Stack, ask: Ask, inventory: Path) -> None:
    switch = ["playbooks/maintenance.yml", inventory, "--limit", stack.name, "-e", "app=ping"]
    assert play(*switch, "-e", "state=on").returncode == 0  # type: ignore[arg-type]
    try:
        said = ask()
    finally:
        assert play(*switch, "-e", "state=off").returncode == 0  # type: ignore[arg-type]
    assert row(said, "ping")["maintenance"] == "ON"
    assert "playbooks/maintenance.yml -e app=ping -e state=off" in said.stdout


def test_machines_get_a_document(stack: Stack, ask: Ask) -> None:
    run = ask("-e", "output=json")
    assert run.returncode == 0, run.stdout[-3000:]
    said: dict[str, Any] = json.loads((ROOT / ".slipway/status.json").read_text())
    assert said["hosts"] == [{"host": stack.name, "problems": []}]
    assert [(one["app"], one["health"]["status"]) for one in said["applications"]] == [
        ("board", 200),
        ("notes", 200),
        ("ping", 200),
    ]
    wrong = ask("-e", "output=xml")
    assert wrong.returncode != 0
    assert "output: is xml; write -e output=json" in wrong.stdout + wrong.stderr


def test_an_application_that_was_never_released_is_told(stack: Stack, ask: Ask) -> None:
    app = {"source": "tests/apps/notes", "module": "server:application", "domains": ["new.test"]}
    said = ask("-e", json.dumps({"apps": {"fresh": app}, "fastapi_app_board": ""}))
    assert row(said, "fresh")["release"] == "NONE"
    assert f"fresh was never released to {stack.name}." in said.stdout


def test_a_host_that_is_not_reached_is_told_and_no_error(stack: Stack, ask: Ask) -> None:
    said = ask("-e", "ansible_port=1")
    assert said.returncode == 0, said.stdout[-3000:]
    text = " ".join(said.stdout.split())
    assert f"{stack.name} not reached: ssh: connect to host {stack.address} port 1: " in text
    assert "Traceback" not in said.stdout + said.stderr
