"""Something cuts in while a release is under way: the next run ends what was begun, and no request notices."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.load import Begin, Drive, Play, Source, State
from tests.stack import ROOT, Stack, eventually, said


def check_whole(stack: Stack, before: State) -> None:
    """Check that another release serves than before, and that nothing half-made is left."""
    after = State.of(stack)
    assert after.release != before.release
    assert "failed" not in after.units.values() and not after.unfinished, after


@pytest.mark.parametrize("step", ["unpack", "slot", "migrate", "start", "switch", "retire"])
def test_the_control_node_dies(
    stack: Stack, source: Source, load: Drive, begin: Begin, deploy: Play, step: str
) -> None:
    before = State.of(stack)
    source.change()
    with load(f"the control node dies in the step *{step}*") as traffic:
        run = begin("playbooks/deploy.yml")
        run.until(f": {step} | ")
        time.sleep(0.3)  # in the middle of it
        run.kill()
        again = deploy()
        assert again.returncode == 0, again.stdout[-4000:]
    assert not traffic.failed, traffic.failures()
    check_whole(stack, before)


def test_the_host_is_rebooted(
    stack: Stack, source: Source, load: Drive, begin: Begin, deploy: Play
) -> None:
    before = State.of(stack)
    source.change()
    with load("the host is rebooted") as traffic:
        run = begin("playbooks/deploy.yml")
        run.until(": slot | ")
        begun = time.monotonic()
        subprocess.run([ROOT / "tests/hosts/host", "reboot", stack.name], check=True)
        took = time.monotonic() - begun
        assert run.wait().returncode != 0
        assert eventually(lambda: stack.get("https://tally.test/readyz").status_code == 200, 20)
        assert State.of(stack).release == before.release
        again = deploy()
        assert again.returncode == 0, again.stdout[-4000:]
    traffic.note = f"the host was up again after {took:.1f} s"
    assert traffic.outage < (took + 5) * 1000, traffic.failures()
    check_whole(stack, before)


def test_the_disk_is_full(stack: Stack, source: Source, load: Drive, deploy: Play) -> None:
    before = State.of(stack)
    source.change()
    with load("the disk is full") as traffic:
        with little_space(stack):
            run = deploy()
        assert run.returncode != 0
        # Which of the two tar says depends on where it was.
        assert re.search("No space left on device|Wrote only", said(run)), run.stdout[-6000:]
        assert State.of(stack).release == before.release
        again = deploy()
        assert again.returncode == 0, again.stdout[-4000:]
    assert not traffic.failed, traffic.failures()
    check_whole(stack, before)


@contextmanager
def little_space(stack: Stack) -> Iterator[None]:
    """Have the releases on a file system of their own for a while, which has a few pages left."""
    stack.run("""set -eu
        cd /srv/tally
        mkdir -p /mnt/below && mount --bind /srv/tally /mnt/below
        mount --make-private /mnt/below  # or it would get the small one, too
        mount -t tmpfs -o size=1G,mode=0750,gid=$(stat -c %g releases) tmpfs releases
        cp -a /mnt/below/releases/. releases
        mount -o remount,size=$(($(df --output=used -k releases | tail -1) + 32))k releases""")
    try:
        yield
    finally:
        # What was left half-made is to be there still.
        stack.run("""set -eu
            cp -a --no-clobber /srv/tally/releases/. /mnt/below/releases
            umount /srv/tally/releases
            umount /mnt/below""")


def test_a_second_run_starts_meanwhile(
    stack: Stack, source: Source, load: Drive, begin: Begin, deploy: Play
) -> None:
    before = State.of(stack)
    source.change()
    with load("a second run starts meanwhile") as traffic:
        first = begin("playbooks/deploy.yml")
        first.until(": unpack | ")
        second = deploy()
        assert first.wait().returncode == 0, first.output()[-4000:]
    assert second.returncode != 0
    assert "tally" in second.stdout and "since" in second.stdout, second.stdout[-4000:]
    assert not traffic.failed, traffic.failures()
    check_whole(stack, before)


def test_nginx_is_reloaded_all_the_while(
    stack: Stack, source: Source, load: Drive, begin: Begin
) -> None:
    before = State.of(stack)
    source.change()
    with load("Nginx is reloaded meanwhile") as traffic:
        run = begin("playbooks/deploy.yml")
        times = 0
        while not run.ended():
            stack.run("systemctl reload nginx")
            times += 1
            time.sleep(0.5)
        assert run.wait().returncode == 0, run.output()[-4000:]
    traffic.note = f"{times} times"
    # A request that is on its way over a connection just as Nginx closes that: before 1.27.4 it can't be told to wait.
    assert traffic.failed <= 2, traffic.failures()
    assert {failure["error"] for failure in traffic.result["failures"]} <= {
        "closed without an answer"
    }
    check_whole(stack, before)
