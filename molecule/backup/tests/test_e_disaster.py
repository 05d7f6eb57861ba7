"""The data is gone while rows are written: what comes back, how much is missing, and how long it takes."""

from __future__ import annotations

import re
import time

from tests.backups import Figure, Kept, figures, run, serves
from tests.load import query, traffic

DATA = "/var/lib/postgresql/17/main"
SECONDS = 25  # of writing
TIMEOUT = 10  # backup_archive_timeout
PUSH = 10  # what it may take to have a segment in both repositories


def test_the_data_is_destroyed_under_load_and_restored(stack: Kept, figure: Figure) -> None:
    with traffic(stack) as driven:
        time.sleep(SECONDS)
        # The row whose time tells the gap, as the server's clock has it.
        destroyed = float(stack.run(f"date +%s.%N && rm -rf {DATA}").split()[0])
        time.sleep(2)
        began = time.monotonic()
        done = run("playbooks/restore.yml", "-e", "to=latest", "-e", "live=bak13")
        whole = time.monotonic() - began
        assert done.returncode == 0, done.stdout[-6000:]
        assert serves(stack)
    text = " ".join(done.stdout.split())
    assert "It goes OVER the live server: the units of tally stop meanwhile" in text
    took = figures(done.stdout)
    last = re.search(r"last transaction was at ([\d-]+ [\d:.]+) UTC", text)
    assert last
    at = float(stack.run(f"date --utc --date '{last[1]} UTC' +%s.%N"))
    gap = destroyed - at
    missing, acknowledged = len(driven.missing), len(driven.acknowledged)
    figure(
        f"bak13: data destroyed under {driven.result['requests'] / driven.seconds:.0f} requests a second: "
        f"{acknowledged} rows confirmed, {missing} of them not there, from the last {gap:.1f} s before; "
        f"archive_timeout {TIMEOUT} s"
    )
    figure(
        f"bak13: restored in {took['seconds']} s ({took['per_gb']} s/GB), the playbook {whole:.0f} s"
    )
    assert acknowledged > 500
    assert -1 < gap < TIMEOUT + PUSH
    # None is missing from before the gap: those that are there are the first ones.
    assert not driven.doubled


def test_afterwards_it_is_backed_up_and_proven(stack: Kept) -> None:
    for repository in ("local", "away"):
        assert stack.drill(repository) == (True, "")
    assert query(stack, "SELECT pg_is_in_recovery()") == ["f"]
