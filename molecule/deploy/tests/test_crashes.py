"""Something dies under load: what that costs, beside the time that systemd takes to start it again."""

from __future__ import annotations

import time

from tests.load import Drive, State
from tests.stack import Stack, eventually


def restarted_in(stack: Stack, unit: str) -> float:
    """Return the seconds from the last end of a unit until it was active again."""
    names = ("ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    said = stack.run(f"systemctl show {unit} --property={','.join(names)}")
    values = dict(line.split("=") for line in said.splitlines())
    ended, active = (int(values[name]) / 1e6 for name in names)
    return active - ended


def ready_again(stack: Stack) -> bool:
    """Wait until the application can write rows, and tell whether it can."""
    time.sleep(0.5)  # else it would be asked before it is dead
    return eventually(lambda: stack.get("https://tally.test/readyz").status_code == 200, 20)


def main_process(stack: Stack, unit: str) -> str:
    """Return the number of a unit's main process."""
    return stack.run(f"systemctl show {unit} --property=MainPID --value").strip()


def test_a_worker_is_killed(stack: Stack, load: Drive) -> None:
    unit = f"tally@{State.of(stack).live}"
    main = main_process(stack, unit)
    with load("`kill -9` of a worker") as traffic:
        group = f"/sys/fs/cgroup/system.slice/system-tally.slice/{unit}.service"
        stack.run(f"kill -9 $(grep -vx {main} {group}/cgroup.procs | head -1)")
        time.sleep(2)
    assert main_process(stack, unit) == main
    # What it had in hand is gone; all else goes to the other worker.
    assert traffic.failed <= 10, traffic.failures()
    assert traffic.outage < 1000, traffic.failures()


def test_the_master_is_killed(stack: Stack, load: Drive) -> None:
    unit = f"tally@{State.of(stack).live}"
    with load("`kill -9` of the master") as traffic:
        stack.run(f"kill -9 {main_process(stack, unit)}")
        assert ready_again(stack)
    took = restarted_in(stack, unit)
    traffic.note = f"systemd started it again in {took:.1f} s"
    assert traffic.failed
    assert traffic.outage < (took + 3) * 1000, traffic.failures()


def test_postgresql_is_killed(stack: Stack, load: Drive) -> None:
    unit = stack.run("systemctl list-units --plain --no-legend 'postgresql@*'").split()[0]
    with load("`kill -9` of PostgreSQL") as traffic:
        stack.run(f"kill -9 {main_process(stack, unit)}")
        assert ready_again(stack)
    took = restarted_in(stack, unit)
    traffic.note = f"systemd started it again in {took:.1f} s"
    # Whoever wants to write waits for a connection meanwhile.
    assert max(traffic.outage, traffic.worst) < (took + 3) * 1000, traffic.failures()
