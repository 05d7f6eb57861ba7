"""Templates, rendered as Ansible does it on a host: with the role's defaults and vars, and the project's filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader
from ansible.template import Templar, trust_as_template

ROOT = Path(__file__).resolve().parents[2]

init_plugin_loader()
filter_loader.add_directory(str(ROOT / "plugins/filter"))


@cache
def read(path: Path) -> dict[str, Any]:
    """Return what a file of variables says, nothing if there is none; its texts may hold templates."""
    if not path.exists():
        return {}
    said: dict[str, Any] = DataLoader().load_from_file(str(path), trusted_as_template=True)
    return said


@cache
def inventory() -> dict[str, Any]:
    """Return what the inventory says, with what follows from it worked out, as preflight does."""
    said = read(ROOT / "tests/templates/inventory.yml")
    templar = Templar(DataLoader(), said | read(ROOT / "playbooks/vars/stack.yml"))
    worked_out: dict[str, Any] = templar.template(said)
    return worked_out


@dataclass(frozen=True)
class Host:
    """A host of one Debian release, as far as templates can tell."""

    debian: str
    python: str

    def variables(self, role: str) -> dict[str, Any]:
        """Return what a role's templates see, in Ansible's order of precedence."""
        found: dict[str, Any] = {
            "inventory_hostname": "host1",
            "playbook_dir": str(ROOT),
            "role_path": str(ROOT / "roles" / role),
            "ansible_search_path": [str(ROOT / "roles" / role)],
            "ansible_check_mode": False,
            "ansible_facts": {
                "distribution": "Debian",
                "distribution_major_version": self.debian,
                "python_version": self.python,
            },
        }
        return (
            found
            | read(ROOT / f"roles/{role}/defaults/main.yml")
            | inventory()
            | read(ROOT / "playbooks/vars/stack.yml")
            | read(ROOT / f"roles/{role}/vars/main.yml")
            | read(ROOT / f"roles/{role}/vars/Debian_{self.debian}.yml")
        )

    def render(self, role: str, template: str, **variables: Any) -> str:
        """Return a template of a role, rendered.

        Args:
            role: The role's name.
            template: Its path under the role's ``templates/``.
            variables: What the task gives it, and what another inventory would say.
        """
        text = trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}")
        given = {name: trusted(value) for name, value in variables.items()}
        templar = Templar(DataLoader(), self.variables(role) | given)
        rendered: str = templar.template(text)
        return rendered

    def refuses(self, role: str, task: str, **variables: Any) -> bool:
        """Tell whether one of the assertions of a role's preflight would fail.

        Args:
            role: The role's name.
            task: The task's name, without ``preflight |``.
            variables: What its loop gives it, and what another inventory would say.
        """
        tasks: Any = read(ROOT / f"roles/{role}/tasks/preflight.yml")
        (found,) = (one for one in tasks if one["name"] == f"preflight | {task}")
        given = {name: trusted(value) for name, value in variables.items()}
        templar = Templar(DataLoader(), self.variables(role) | found.get("vars", {}) | given)
        wanted = found["ansible.builtin.assert"]["that"]
        conditions = [wanted] if isinstance(wanted, str) else wanted
        return not all(templar.evaluate_conditional(one) for one in conditions)


def trusted(value: Any) -> Any:
    """Return a value whose texts may hold templates, as those of an inventory may."""
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, Mapping):
        return {key: trusted(within) for key, within in value.items()}
    return value


@pytest.fixture(params=[("12", "3.11.2"), ("13", "3.13.5")], ids=["debian12", "debian13"])
def host(request: pytest.FixtureRequest) -> Host:
    """Return a host of each Debian release that is supported."""
    return Host(*request.param)
