"""A release and the way back, under load: nobody notices."""

from __future__ import annotations

import json

from tests.load import Drive, Play, Source, State, serves
from tests.stack import Stack, said


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
        assert serves(stack, second)
        again = rollback("-e", "app=tally")
        assert again.returncode == 0, again.stdout[-4000:]
        assert serves(stack, first)
        named = rollback("-e", "app=tally", "-e", f"release={third}")
        assert named.returncode == 0, named.stdout[-4000:]
        assert serves(stack, third)
    assert not traffic.failed, traffic.failures()

    lines = stack.run("tail -n 5 /srv/tally/releases.jsonl").splitlines()
    ledger = [(line["release"], line["status"], line.get("to")) for line in map(json.loads, lines)]
    assert ledger == [
        (second, "succeeded", None),
        (third, "succeeded", None),
        (third, "rolled_back", second),
        (second, "rolled_back", first),
        (first, "rolled_back", third),
    ]


def test_a_dry_run_foresees_it_and_does_nothing(
    stack: Stack, source: Source, load: Drive, deploy: Play
) -> None:
    before = State.of(stack), stack.run("ls -A /srv/tally/releases /srv/tally/slots/*")
    source.change()
    with load("a dry run") as traffic:
        run = deploy("--check", "--diff")
    assert run.returncode == 0, run.stdout[-4000:]
    assert "switch | Switch to it" in run.stdout and "changed: [deploy13]" in run.stdout
    assert (State.of(stack), stack.run("ls -A /srv/tally/releases /srv/tally/slots/*")) == before
    assert not traffic.failed, traffic.failures()


def test_at_last_there_is_nothing_to_go_back_to(rollback: Play) -> None:
    run = rollback("-e", "app=tally")
    for _ in range(5):  # as many as the host keeps
        if run.returncode == 0:
            run = rollback("-e", "app=tally")
    assert run.returncode != 0
    assert "no earlier release to return to" in said(run), run.stdout[-4000:]
