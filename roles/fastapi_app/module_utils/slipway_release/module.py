"""What the modules of a release's steps have in common."""

from __future__ import annotations

import grp
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from . import claim, slots, systemd

COMMON: dict[str, Any] = {
    "app": {"type": "str", "required": True},
    "root": {"type": "path", "required": True},
    "run": {"type": "str", "required": True},
}


class Application:
    """An application's folder on the host, and the slots in it."""

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        self.home = Path(root, name)

    @property
    def live(self) -> str:
        """The slot that serves; empty before the first release."""
        return str(slots.target_name(self.home / "live"))

    @property
    def group(self) -> int:
        """The number of the application's group."""
        return grp.getgrnam(self.name).gr_gid

    def slot(self, name: str) -> Path:
        """Return a slot's folder."""
        return self.home / "slots" / name

    def release(self, slot: str) -> str:
        """Return the id of the release that a slot has; empty if it has none."""
        return str(slots.target_name(self.slot(slot) / "release"))

    def socket(self, slot: str) -> Path:
        """Return a slot's private socket."""
        return Path("/run", self.name, f"{slot}.sock")

    def unit(self, slot: str) -> str:
        """Return the unit that serves."""
        return f"{self.name}@{slot}.service"

    def others(self, slot: str) -> list[str]:
        """Return what else a slot starts: its services and timers."""
        files = slots.of_slot(slots.unit_files(self.name), slot)
        names = [path.name for path in files if not slots.is_job(path)]
        return [name for name in names if name != self.unit(slot)]

    @property
    def cache(self) -> Path:
        """The folder in which an Nginx on this host keeps its answers; the role nginx names it, too."""
        return Path("/var/cache/slipway", self.name)

    def forget_answers(self) -> None:
        """Delete what Nginx has kept of its answers, which are those of another release.

        Nginx takes a file that is gone for one that it never had. Those that are being written have longer names.
        """
        for path in self.cache.glob("*/*/*"):
            if len(path.name) == 32:
                path.unlink(missing_ok=True)

    @property
    def retirement(self) -> str:
        """The transient unit that lets go the slot that served before."""
        return f"{self.name}-retire.service"


def run_step(
    name: str,
    options: dict[str, Any],
    do: Callable[[AnsibleModule, Application], dict[str, Any]],
    claimed: bool = True,
) -> None:
    """Run a step as an Ansible module: alone on the host, and under the run's claim.

    Args:
        name: The step's name.
        options: The options that it has beside COMMON.
        do: What it does. It returns what the module returns, and in check mode changes nothing.
        claimed: Whether the run must have the application already.
    """
    module = AnsibleModule(argument_spec={**COMMON, **options}, supports_check_mode=True)
    application = Application(module.params["app"], module.params["root"])
    try:
        if module.check_mode:
            module.exit_json(**do(module, application))
        with claim.step(application.name, name, module.params["run"] if claimed else ""):
            result = do(module, application)
        module.exit_json(**result)
    except (claim.Refused, systemd.Failed, OSError) as error:
        module.fail_json(msg=f"{application.name}: {error}")
