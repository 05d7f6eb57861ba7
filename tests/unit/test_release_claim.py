"""One run at a time has an application, and one step of it at a time is at work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from slipway_release import claim

ONE = {"run": "1", "by": "ann@laptop", "node": "n", "pid": 7, "since": "2026-01-02 03:04:05 UTC"}
OTHER = ONE | {"run": "2", "by": "ben@desk"}


@pytest.fixture(autouse=True)
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep claims in a folder of the test's own."""
    monkeypatch.setattr(claim, "CLAIMS", tmp_path / "claims")
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    (tmp_path / "claims").mkdir()
    return tmp_path / "claims"


def test_another_run_is_told_who_has_it() -> None:
    claim.take("shop", ONE, "")
    with pytest.raises(claim.Refused, match=r"ann@laptop .*03:04:05.* is releasing it"):
        claim.take("shop", OTHER, "")
    assert claim.holder("shop") == ONE


@pytest.mark.parametrize("over", ["1", "any"])
def test_what_has_ended_can_be_taken_over(over: str) -> None:
    claim.take("shop", ONE, "")
    claim.take("shop", OTHER, over)
    assert claim.holder("shop") == OTHER


def test_only_the_one_that_is_known_to_have_ended_is_taken_over() -> None:
    claim.take("shop", ONE, "")
    with pytest.raises(claim.Refused):
        claim.take("shop", OTHER, "another")


def test_a_run_drops_what_it_has_and_nothing_else() -> None:
    claim.take("shop", ONE, "")
    claim.drop("shop", "2")
    assert claim.holder("shop") == ONE
    claim.drop("shop", "1")
    assert claim.holder("shop") == {}
    claim.take("shop", OTHER, "")


def test_a_step_of_a_run_that_has_lost_the_application_is_refused() -> None:
    claim.take("shop", OTHER, "")
    taken = pytest.raises(claim.Refused, match=r"ben@desk .* has taken the release over")
    with taken, claim.step("shop", "switch", "1"):
        pytest.fail("it went on")


def test_after_a_reboot_there_is_no_claim_and_the_run_is_told() -> None:
    gone = pytest.raises(claim.Refused, match="restarted during the release")
    with gone, claim.step("shop", "switch", "1"):
        pytest.fail("it went on")


def test_a_step_waits_for_the_end_of_another(claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "STEP_SECONDS", 0.3)
    holding = f"""import fcntl, sys, time
file = open({str(claims / "shop.lock")!r}, "a+"); fcntl.flock(file, fcntl.LOCK_EX)
file.truncate(0); file.write("migrate"); file.flush(); print(flush=True); sys.stdin.read()"""
    command = [sys.executable, "-c", holding]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin and other.stdout
        other.stdout.readline()
        busy = pytest.raises(claim.Refused, match="migrate of an earlier run is still at work")
        with busy, claim.step("shop", "slot"):
            pytest.fail("it went on")
        other.stdin.close()
        other.wait()
    with claim.step("shop", "slot"):
        assert (claims / "shop.lock").read_text() == "slot"


def test_a_run_is_the_same_in_all_of_its_processes(runs: ModuleType) -> None:
    script = f"""import sys, os, runpy
sys.argv[0] = "ansible-playbook"
filters = runpy.run_path({str(Path(runs.__file__ or ""))!r})
print(filters["this_run"]()["run"], flush=True)
if not os.fork(): print(filters["this_run"]()["run"], flush=True)
else: os.wait()"""
    command = ["bash", "-c", 'exec -a ansible-playbook "$0" -c "$1"', sys.executable, script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == 2
    assert said[0] == said[1]


def test_a_run_of_this_machine_that_is_no_more_is_known_to_have_ended(runs: ModuleType) -> None:
    held: dict[str, Any] = runs.this_run()
    assert not runs.has_ended(held)
    assert not runs.has_ended({})
    # The same number, given to another process since.
    assert runs.has_ended(held | {"run": held["run"] + "0"})
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert runs.has_ended(held | {"pid": gone.pid})
    # Of another machine nothing is known.
    assert not runs.has_ended(held | {"pid": gone.pid, "node": "elsewhere"})
