"""Every role has the same shape, and its defaults, argument spec and README say the same."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
TEMPLATES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.glob("roles/*/templates/**/*.j2")
    if path.parent.name != "site"  # parts of a file, which is rendered as a whole
)
TASK_FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob("roles/*/tasks/*.yml"))
# Fed to psql: no file on any host.
NO_FILE_ON_THE_HOST = {"roles/postgresql/templates/databases.sql.j2"}
# Read by anybody, whom it doesn't concern who manages what.
FOR_EVERYBODY = {"roles/nginx/templates/var/lib/slipway/maintenance/page.html.j2"}


def read(path: str | Path) -> Any:
    """Return what a YAML file of the repository says."""
    return yaml.safe_load((ROOT / path).read_text())


def tasks(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each task, and those of each block."""
    for task in listed:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks(task.get(part, []))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "file",
    [
        "README.md",
        "defaults/main.yml",
        "meta/argument_specs.yml",
        "meta/main.yml",
        "tasks/main.yml",
        "tasks/preflight.yml",
    ],
)
def test_a_role_has_the_files_that_every_role_has(role: str, file: str) -> None:
    assert (ROOT / "roles" / role / file).is_file()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_says_what_it_is_and_where_it_runs(role: str) -> None:
    meta = read(f"roles/{role}/meta/main.yml")
    assert meta["dependencies"] == []
    galaxy = meta["galaxy_info"]
    assert galaxy["role_name"] == role
    assert galaxy["author"] == "Slipway contributors"
    assert galaxy["description"]
    assert galaxy["license"] == "MIT"
    assert galaxy["min_ansible_version"] == "2.19"
    assert galaxy["platforms"] == [{"name": "Debian", "versions": ["bookworm", "trixie"]}]


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_argument_spec_say_the_same(role: str) -> None:
    options = read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = read(f"roles/{role}/defaults/main.yml")
    # With the type, since 0 == False.
    specified = {name: (type(o["default"]), o["default"]) for name, o in options.items()}
    assert {name: (type(value), value) for name, value in defaults.items()} == specified
    assert all(name.startswith(f"{role}_") for name in defaults)


def described(options: dict[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    """Yield each option by its path, those within others too."""
    for name, option in options.items():
        yield f"{where}.{name}", option
        yield from described(option.get("options", {}), f"{where}.{name}")


@pytest.mark.parametrize("role", ROLES)
def test_every_option_has_a_type_and_a_sentence(role: str) -> None:
    spec = read(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
    for entry, of in spec.items():
        for path, option in described(of["options"], f"{role} {entry}"):
            assert option.get("type"), path
            assert str(option.get("description", "")).strip().endswith("."), path
            assert ("elements" in option) == (option["type"] == "list"), path
            assert not (option.get("required") and "default" in option), path


def test_the_readmes_show_the_options_of_today() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/role-docs", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("template", TEMPLATES, ids=str)
def test_a_template_begins_by_saying_who_manages_the_file(template: Path) -> None:
    begins = (ROOT / template).read_text().startswith("{{ ansible_managed | comment }}\n")
    assert begins != (str(template) in NO_FILE_ON_THE_HOST | FOR_EVERYBODY)


@pytest.mark.parametrize("role", ROLES)
def test_the_main_task_file_is_a_table_of_contents(role: str) -> None:
    for task in read(f"roles/{role}/tasks/main.yml"):
        verbs = {"ansible.builtin.import_tasks", "ansible.builtin.include_tasks"} & task.keys()
        assert len(verbs) == 1, task
        named = task[verbs.pop()]
        assert (ROOT / "roles" / role / "tasks" / named).is_file(), task


@pytest.mark.parametrize("path", TASK_FILES, ids=str)
def test_a_role_leaves_it_to_the_play_to_become_root(path: Path) -> None:
    for task in tasks(read(path)):
        assert task.get("become") is not True, task["name"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_knows_no_group_of_the_inventory(role: str) -> None:
    for path in (ROOT / "roles" / role).rglob("*"):
        if path.suffix in {".yml", ".j2"}:
            text = path.read_text()
            assert not re.search(r"\bgroups\s*[\[.|]|\bgroup_names\b", text), path


@pytest.mark.parametrize("role", ROLES)
def test_a_preflight_refuses_options_that_the_role_lacks(role: str) -> None:
    text = (ROOT / "roles" / role / "tasks" / "preflight.yml").read_text()
    wanted = f"query('ansible.builtin.varnames', '^{role}_') | slipway_unknown_options(role_path)"
    assert wanted in text
