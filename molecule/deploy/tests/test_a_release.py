"""A release and the way back, under load: nobody notices."""

from __future__ import annotations

import json
from typing import Any

from tests.load import Drive, Play, Source, State
from tests.stack import Stack


def ledger(stack: Stack) -> list[dict[str, Any]]:
    """Return the lines of the host's ledger."""
    return [json.loads(line) for line in stack.run("cat /srv/tally/releases.jsonl").splitlines()]


def test_releases_and_ways_back(
    stack: Stack, source: Source, load: Drive, deploy: Play, rollback: Play
) -> None:
    first = State.of(stack).release
    with load("two releases, and three ways back") as traffic:
        ids = []
        for _ in range(2):
            source.change()
            run = deploy()
            assert run.returncode == 0, run.stdout[-4000:]
            ids.append(State.of(stack).release)
        second, third = ids
        assert len({first, second, third}) == 3

        back = rollback("-e", "app=tally")
        assert back.returncode == 0, back.stdout[-4000:]
        assert State.of(stack).release == second
        again = rollback("-e", "app=tally")
        assert again.returncode == 0, again.stdout[-4000:]
        assert State.of(stack).release == first
        named = rollback("-e", "app=tally", "-e", f"release={third}")
        assert named.returncode == 0, named.stdout[-4000:]
        assert State.of(stack).release == third
    assert not traffic.failed, traffic.failures()


def test_the_ledger_marks_what_was_taken_back(stack: Stack) -> None:
    last = [(line["release"], line["status"]) for line in ledger(stack)]
    assert last


def test_nothing_is_left_to_go_back_to(stack: Stack, rollback: Play) -> None:
    said = ""
    for _ in range(6):
        run = rollback("-e", "app=tally")
        if run.returncode:
            said = run.stdout
            break
    assert "no earlier release" in said
