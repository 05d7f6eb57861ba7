"""What an application's hooks are told, and when; and that one that fails is a release that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.load import Play, Source, State
from tests.stack import ROOT, Stack, said

SCRATCH = ROOT / ".slipway/deploy"
SHARED = Path("/srv/tally/shared")

WRITE = 'echo "$SLIPWAY_HOOK $SLIPWAY_RELEASE $SLIPWAY_SERVED" >>$SLIPWAY_SHARED/hooks'
TELL = {"tasks": "molecule/deploy/tasks/tell.yml"}
HOOKS = {
    "before_build": f"echo $SLIPWAY_HOOK >>{SCRATCH}/hooks",
    "after_migrate": WRITE,
    "before_switch": ["test ! -e $SLIPWAY_SHARED/refused", WRITE],
    "after_switch": [WRITE, TELL],
    "on_failure": [f'echo "$SLIPWAY_HOOK $SLIPWAY_STEP" >>{SHARED}/hooks', TELL],
}
GIVEN = ("--extra-vars", json.dumps({"deploy_hooks": HOOKS}))


@pytest.fixture(autouse=True)
def forgotten(stack: Stack) -> Iterator[None]:
    """Forget what hooks of other releases have written."""
    stack.run(f"rm -f {SHARED}/hooks")
    (SCRATCH / "hooks").unlink(missing_ok=True)
    yield
    stack.run(f"rm -f {SHARED}/refused")


def told() -> tuple[str, str, str, str]:
    """Return what a task file was told last."""
    hook = json.loads((SCRATCH / "told.json").read_text())
    return hook["hook"], hook["release"], hook["served"], hook["step"]


def test_each_runs_in_its_moment(
    stack: Stack, source: Source, deploy: Play, rollback: Play
) -> None:
    before = State.of(stack).release
    with source.migration("SELECT 1;"):
        run = deploy(*GIVEN)
    assert run.returncode == 0, run.stdout[-4000:]
    after = State.of(stack).release
    assert (SCRATCH / "hooks").read_text().split() == ["before_build"]
    moments = ("after_migrate", "before_switch", "after_switch")
    assert stack.run(f"cat {SHARED}/hooks").splitlines() == [
        f"{moment} {after} {before}" for moment in moments
    ]
    assert told() == ("after_switch", after, before, "")

    back = rollback("-e", "app=tally", *GIVEN)
    assert back.returncode == 0, back.stdout[-4000:]
    assert told() == ("after_switch", before, after, "")


def test_one_that_fails_is_a_release_that_fails(stack: Stack, source: Source, deploy: Play) -> None:
    before = State.of(stack).release
    stack.run(f"touch {SHARED}/refused")
    source.change()
    run = deploy(*GIVEN)
    assert run.returncode != 0
    step = "hook | Run the command of before_switch"
    assert f'it failed at "{step}"' in said(run), run.stdout[-4000:]
    assert State.of(stack).release == before
    assert stack.run(f"cat {SHARED}/hooks").splitlines()[-1] == f"on_failure {step}"
    hook, release, served, failed = told()
    assert (hook, served, failed) == ("on_failure", before, step) and release != before
