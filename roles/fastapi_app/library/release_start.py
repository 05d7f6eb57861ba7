#!/usr/bin/python
"""Start the idle slot, and ask whether it is ready to serve."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_start
short_description: Start the idle slot of an application and ask its health
description:
  - Gunicorn tells systemd that it is ready before its workers have booted. So the application itself is asked.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  slot: {type: str, required: true, choices: [blue, green], description: The slot.}
  host: {type: str, required: true, description: The host name that is asked for.}
  health: {type: str, required: true, description: The path that answers 200.}
  timeout: {type: int, required: true, description: Seconds that it has for that.}
"""

RETURN = r"""
seconds: {description: How long it took., type: float}
warm: {description: Whether it ran already., type: bool}
remarks: {description: What makes it slower than it need be., type: list, elements: str}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import systemd
from ansible.module_utils.slipway_release.module import Application, run_step

# One crash may be due to what is around; what crashes again will not serve.
CRASHES = 2


def logs_requests(unit: str, health: str, since: float) -> list[str]:
    """Return that the server logs each request, if it has logged the one that has just been answered."""
    said = systemd.journal([unit], since)
    if f"GET {health} HTTP/" not in said:
        return []
    return [
        "its server logs each request, which Nginx has logged already; leave out --access-logfile and the like"
    ]


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Start it and wait."""
    given, slot = module.params, module.params["slot"]
    if module.check_mode:
        return {"changed": True}
    unit, began = app.unit(slot), time.monotonic()
    # As it is being kept warm it must not be stopped now.
    systemd.systemctl("stop", *systemd.active([app.retirement]))
    status, text = systemd.answer(app.socket(slot), given["host"], given["health"])
    if status == 200:
        return {"changed": False, "warm": True, "seconds": round(time.monotonic() - began, 3)}
    started = time.time()
    systemd.systemctl("restart", unit)
    while True:
        asked = time.monotonic()
        status, text = systemd.answer(app.socket(slot), given["host"], given["health"])
        seconds = round(time.monotonic() - began, 3)
        if status == 200:
            remarks = logs_requests(unit, given["health"], started)
            return {"changed": True, "warm": False, "seconds": seconds, "remarks": remarks}
        state = systemd.properties(unit, "NRestarts", "SubState", "ExecMainStatus")
        crashes = int(state["NRestarts"]) + (state["SubState"] == "auto-restart")
        if crashes >= CRASHES:
            raise systemd.Failed(
                f"{unit} ends as soon as it is started, {crashes} times by now (status {state['ExecMainStatus']})"
            )
        if seconds > given["timeout"]:
            raise systemd.Failed(
                f"{unit} was not ready within {given['timeout']} s: {systemd.told(given['health'], status, text)}"
            )
        time.sleep(max(0.0, asked + 0.05 - time.monotonic()))


if __name__ == "__main__":
    run_step(
        "start",
        {
            "slot": {"type": "str", "required": True, "choices": ["blue", "green"]},
            "host": {"type": "str", "required": True},
            "health": {"type": "str", "required": True},
            "timeout": {"type": "int", "required": True},
        },
        do,
    )
