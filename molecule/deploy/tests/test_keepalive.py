"""No POST meets the closing of a connection that Nginx has kept; and this test would see it if one did."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.flood import flood, ordinary_keepalive
from tests.load import Play, Source, State
from tests.stack import Stack, eventually

SWITCHES = 4
PATIENCE = 15  # switches, at most, until ordinary keep-alive has shown what it does
SETTLED = 4  # seconds from a switch until what served has ended, fastapi_app_settle_time among them
URL, ROW = "https://tally.test/rows", {"run": "flood", "n": 1}


@pytest.fixture(scope="module")
def switch(stack: Stack, source: Source, deploy: Play, rollback: Play) -> Callable[[], None]:
    """Return what switches between two releases, and waits until the other has ended."""
    stack.run("apt-get install --quiet --yes --no-install-recommends nghttp2-client")
    releases = []
    for _ in range(2):
        source.change()
        run = deploy()
        assert run.returncode == 0, run.stdout[-4000:]
        releases.append(State.of(stack).release)

    def to_the_other() -> None:
        releases.reverse()
        run = rollback("-e", "app=tally", "-e", f"release={releases[-1]}")
        assert run.returncode == 0, run.stdout[-4000:]
        time.sleep(SETTLED)

    return to_the_other


def test_no_post_is_lost_over_switches(stack: Stack, switch: Callable[[], None]) -> None:
    with flood(stack, URL, dict(ROW)) as flooding:
        for _ in range(SWITCHES):
            switch()
        assert eventually(lambda: flooding.so_far().posts > 5000, 60), "hardly anything was sent"
    done = flooding.so_far()
    print(f"{done.failed} of {done.posts} POSTs failed over {SWITCHES} switches")
    assert done.failed == 0, flooding.refused("tally")


def test_with_ordinary_keep_alive_some_are(stack: Stack, switch: Callable[[], None]) -> None:
    with ordinary_keepalive(stack, "tally"), flood(stack, URL, dict(ROW)) as flooding:
        switches = 0
        while switches < PATIENCE and not flooding.so_far().failed:
            switch()
            switches += 1
    done = flooding.so_far()
    print(f"{done.failed} of {done.posts} POSTs failed over {switches} switches")
    assert done.failed, "the test before this one could not have seen a POST that is lost"
