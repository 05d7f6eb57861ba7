#!/usr/bin/python
"""Take an application for a run, or give it back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_claim
short_description: One release of an application at a time
description:
  - Takes an application on this host for a run. While it has it, the steps of every other run are refused.
  - A claim is no setting of the host, so that taking one is no change. It is gone after a reboot.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  by: {type: str, default: '', description: Who runs it and where.}
  node: {type: str, default: '', description: What tells the control node from others.}
  pid: {type: int, default: 0, description: The run's process on the control node.}
  over: {type: str, default: '', description: 'The id of a run that has ended, to be taken over; any for every one.'}
  live: {type: str, default: '', description: 'The slot that served when the run looked; it must serve still.'}
  state: {type: str, default: held, choices: [held, dropped], description: Whether to take it or to give it back.}
"""

RETURN = r"""
started_at: {description: The time on the host., type: str}
epoch: {description: 'The same, in seconds of the epoch.', type: float}
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, slots
from ansible.module_utils.slipway_release.module import Application, run_step


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Take or drop the claim."""
    given = module.params
    if module.check_mode:
        return {"changed": False}
    if given["state"] == "dropped":
        claim.drop(app.name, given["run"])
        return {"changed": False}
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    claim.take(
        app.name,
        {key: given[key] for key in ("run", "by", "node", "pid")} | {"since": since},
        given["over"],
    )
    if app.live != given["live"]:
        claim.drop(app.name, given["run"])
        raise claim.Refused(
            "somebody else has switched it while this run was under way; run it again"
        )
    return {"changed": False, "started_at": slots.now(), "epoch": time.time()}


if __name__ == "__main__":
    run_step(
        "claim",
        {
            "by": {"type": "str", "default": ""},
            "node": {"type": "str", "default": ""},
            "pid": {"type": "int", "default": 0},
            "over": {"type": "str", "default": ""},
            "live": {"type": "str", "default": ""},
            "state": {"type": "str", "default": "held", "choices": ["held", "dropped"]},
        },
        do,
        claimed=False,
    )
