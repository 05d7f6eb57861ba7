#!/usr/bin/python
"""Make the idle slot the one that serves, and see it through its first seconds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_switch
short_description: Switch an application to its idle slot
description:
  - The one moment that counts is a rename(2) of the link C(live), through which Nginx finds socket and static files.
  - What then does not stay up while the old slot still runs is taken back at once, by the same rename.
  - The slot that served is let go by the host itself, so that a control node that dies leaves nothing undone.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  slot: {type: str, required: true, choices: [blue, green], description: The slot that is to serve.}
  host: {type: str, required: true, description: The host name that its health is asked for.}
  health: {type: str, required: true, description: The path that answers 200.}
  ledger: {type: dict, required: true, description: 'What releases.jsonl is to say; settings and time are added.'}
  settle_time: {type: int, required: true, description: Seconds until Nginx has left the old slot's socket.}
  warm_time: {type: int, required: true, description: 'Seconds that the old slot then runs on; 0 for none.'}
  last: {type: bool, default: false, description: 'Whether this is all: it is not watched, and the claim is dropped.'}
"""

RETURN = r"""
old: {description: 'The slot that served; empty if none did.', type: str}
workers: {description: The process ids of the workers that served., type: list}
milliseconds: {description: How long the rename took., type: float}
finished_at: {description: The time of the switch., type: str}
steps: {description: 'What took how long: name and seconds.', type: list}
taken_back: {description: Whether it failed after the switch and the old slot serves again., type: bool}
journal: {description: What it said before it failed., type: str}
"""

import shlex
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, slots, systemd
from ansible.module_utils.slipway_release.module import Application, run_step


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Stop what must not run twice, rename, start it anew, and watch."""
    given, slot, old = module.params, module.params["slot"], app.live
    if module.check_mode:
        return {"changed": True, "old": old, "workers": [], "finished_at": slots.now()}
    if old == slot:
        raise claim.Refused(f"the slot {slot} serves already; run it again")
    began = time.time()
    workers = systemd.processes(app.unit(old))[1:] if old else []
    # No two schedulers at once: those of the old slot end before those of the new one begin.
    stopped = systemd.active(app.others(old)) if old else []
    systemd.systemctl("stop", *stopped)
    try:
        # Before the switch: a host that loses power between the two then starts both, and serves.
        systemd.systemctl("enable", app.unit(slot), *app.others(slot))
        milliseconds = switch(app, slot)
    except BaseException:
        systemd.systemctl("start", *stopped)
        raise
    switched = time.time()
    units = slots.of_slot(slots.unit_files(app.name), slot)
    line = {"settings": slots.settings(app.slot(slot), units), "finished_at": slots.now()}
    # A rollback migrates nothing.
    point = (
        {} if given["last"] else slots.restore_point(app.slot(slot).joinpath("release").resolve())
    )
    slots.note(app.home, given["ledger"] | point | line, app.group)
    if old:
        retire(app, old, given["settle_time"], given["warm_time"])
    systemd.systemctl("restart", *app.others(slot))
    result = {"changed": True, "old": old, "workers": workers, "milliseconds": milliseconds}
    result["steps"] = [{"name": "switch", "seconds": round(switched - began, 3)}]
    if given["last"]:
        claim.drop(app.name, given["run"])
        return result | line
    if trouble := watch(app, given):
        result["journal"] = systemd.journal([app.unit(slot), *app.others(slot)], switched)
        if old:
            take_back(app, old, slot, given)
        module.fail_json(msg=trouble, taken_back=bool(old), **result)
    result["steps"].append({"name": "settle", "seconds": round(time.time() - switched, 3)})
    return result | line


def switch(app: Application, slot: str) -> float:
    """Have the link point to a slot, and return the milliseconds that took; what the edge has kept is forgotten."""
    began = time.perf_counter()
    slots.point(app.home / "live", f"slots/{slot}")
    milliseconds = round((time.perf_counter() - began) * 1000, 3)
    app.forget_answers()
    return milliseconds


def retire(app: Application, old: str, settle_time: int, warm_time: int) -> None:
    """Have the host let a slot go, whatever becomes of this run: once Nginx has left it, and not if it serves again.

    A warm slot gets fresh workers: what was open in the old ones ends as it does when the slot is stopped.
    """
    live, unit = shlex.quote(str(app.home / "live")), app.unit(old)
    serves = f'[ "$(readlink {live})" = slots/{old} ]'
    # Until now Nginx may have been given answers of this slot, and kept them.
    forget = (
        f"find {app.cache} -type f -regextype egrep -regex '.*/[0-9a-f]{{32}}' -delete 2>/dev/null"
    )
    stop = f"{serves} || systemctl stop {unit}"
    warm = f"{serves} || systemctl kill --kill-whom=main --signal=HUP {unit}; sleep {warm_time}; {stop}"
    systemd.systemctl(
        "disable", *(name for name in (unit, *app.others(old)) if slots.enabled(name))
    )
    systemd.systemctl("stop", *systemd.active([app.retirement]))
    # A second more than a release is watched, so that there is a slot to return to.
    systemd.run(
        *("systemd-run", "--quiet", "--collect", f"--unit={app.retirement}"),
        f"--description=Let the slot {old} of {app.name} go",
        *("/bin/sh", "-c", f"sleep {settle_time + 1}; {forget}; {warm if warm_time else stop}"),
    )


def watch(app: Application, given: dict[str, Any]) -> str:
    """Return what goes wrong with the slot that serves while it settles; empty if nothing does."""
    slot = given["slot"]
    unit, others = app.unit(slot), app.others(slot)
    workers, until = systemd.processes(unit), time.monotonic() + given["settle_time"]
    while time.monotonic() < until:
        if gone := [pid for pid in workers if pid not in systemd.processes(unit)]:
            return f"{unit} did not stay up: its process {gone[0]} is gone"
        time.sleep(0.2)
    for other in others:
        state = systemd.properties(other, "ActiveState", "NRestarts")
        if state["ActiveState"] != "active" or state.get("NRestarts", "0") != "0":
            times = state.get("NRestarts", "0")
            return f"{other} did not stay up: it is {state['ActiveState']}, restarted {times} times"
    return str(systemd.wait_for_health(app.socket(slot), given["host"], given["health"], seconds=2))


def take_back(app: Application, old: str, slot: str, given: dict[str, Any]) -> None:
    """Return to the slot that served; it still runs."""
    systemd.systemctl("stop", *systemd.active([app.retirement]))
    others = app.others(slot)
    systemd.systemctl("stop", *systemd.active(others))
    systemd.systemctl("enable", app.unit(old), *app.others(old))
    switch(app, old)
    line = {"status": "rolled_back", "to": app.release(old), "finished_at": slots.now()}
    units = slots.of_slot(slots.unit_files(app.name), old)
    line["settings"] = slots.settings(app.slot(old), units)
    slots.note(app.home, given["ledger"] | line, app.group)
    systemd.systemctl("restart", *app.others(old))
    systemd.systemctl("disable", app.unit(slot), *others)
    time.sleep(given["settle_time"])  # until Nginx has left it
    app.forget_answers()
    systemd.systemctl("stop", app.unit(slot))


if __name__ == "__main__":
    run_step(
        "switch",
        {
            "slot": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "host": {"type": "str", "required": True},
            "health": {"type": "str", "required": True},
            "ledger": {"type": "dict", "required": True},
            "settle_time": {"type": "int", "required": True},
            "warm_time": {"type": "int", "required": True},
            "last": {"type": "bool", "default": False},
        },
        do,
    )
