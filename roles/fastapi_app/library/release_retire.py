#!/usr/bin/python
"""Wait until what served before has ended what it had begun."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_retire
short_description: Wait for the end of the workers that served before
description:
  - The host itself lets them go. This waits for it, so that a release is over when a run says so, and drops the claim.
options:
  app: {type: str, required: true, description: The application.}
  root: {type: path, required: true, description: The folder under which each application has its own.}
  run: {type: str, required: true, description: The run's id.}
  workers: {type: list, elements: int, required: true, description: Their process ids.}
  timeout: {type: int, required: true, description: Seconds that they may take.}
  remove: {type: list, elements: str, default: [], description: 'What nothing needs, such as releases/0123456789ab.'}
"""

import shutil
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.slipway_release import claim, systemd
from ansible.module_utils.slipway_release.module import Application, run_step


def do(module: AnsibleModule, app: Application) -> dict[str, Any]:
    """Wait, remove, and give back."""
    given = module.params
    if module.check_mode:
        return {"changed": bool(given["remove"])}
    deadline = time.monotonic() + given["timeout"]
    left = set(given["workers"])
    while left := {pid for pid in left if Path(f"/proc/{pid}").exists()}:
        if time.monotonic() > deadline:
            raise systemd.Failed(
                f"processes {sorted(left)} of the slot that served have not ended; they serve nobody"
            )
        time.sleep(0.1)
    # The last of what the edge may have kept of an answer that took long.
    app.forget_answers()
    for name in given["remove"]:
        shutil.rmtree(app.home / name)
    claim.drop(app.name, given["run"])
    return {"changed": bool(given["remove"])}


if __name__ == "__main__":
    run_step(
        "retire",
        {
            "workers": {"type": "list", "elements": "int", "required": True},
            "timeout": {"type": "int", "required": True},
            "remove": {"type": "list", "elements": "str", "default": []},
        },
        do,
    )
