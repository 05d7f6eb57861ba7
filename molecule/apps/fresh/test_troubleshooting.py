"""What docs/troubleshooting.md gives as wrong is answered as it says, and a bare host stays as it is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.stack import ROOT, Stack, play

INVENTORY = ROOT / "molecule/apps/inventory"
BARE = Stack("apps13", Path("/nonexistent"))
# A release that fails has changed its host: it gets one of its own, which is gone afterwards.
OWN = "trouble13"
DOCUMENT = ROOT / "docs/troubleshooting.md"


@dataclass(frozen=True)
class Section:
    """A part of the document: what it is about, what is wrong, and what is said."""

    chapter: str
    title: str
    wrong: str
    said: str

    @property
    def variables(self) -> dict[str, Any]:
        """Return what is wrong, as variables of a run."""
        variables: dict[str, Any] = yaml.safe_load(self.wrong)
        return variables

    @property
    def alone(self) -> bool:
        """Tell whether it hides what else is wrong: it is about more than an application's entry and source."""
        of_apps = self.chapter in ("In the inventory", "In the source")
        return not of_apps or self.variables.keys() != {"apps"} or "{{ vault" in self.wrong


def sections() -> list[Section]:
    """Return what the document has."""
    found = []
    for chapter in re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        about, *parts = re.split(r"^### ", chapter, flags=re.MULTILINE)
        for part in parts:
            (wrong,) = re.findall(r"^```yaml\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
            (said,) = re.findall(r"^```text\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
            title = part.splitlines()[0]
            found.append(Section(about.splitlines()[0], title, wrong, said))
    return found


SECTIONS = sections()


@contextmanager
def a_user_without_sudo() -> Iterator[None]:
    """Have a user on the bare host who may log in and nothing else."""
    BARE.run("sh -c 'useradd -m plain && cp -r ~deploy/.ssh ~plain/ && chown -R plain: ~plain'")
    try:
        yield
    finally:
        BARE.run("sh -c 'pkill -KILL -u plain; userdel --force --remove plain'")


@contextmanager
def a_port_that_is_taken() -> Iterator[None]:
    """Have another server on the bare host."""
    BARE.run("systemd-run --unit=stranger python3 -m http.server 443")
    try:
        BARE.run("sh -c 'until ss -ltn | grep -q :443; do sleep 0.1; done'")
        yield
    finally:
        BARE.run("systemctl stop stranger")


CIRCUMSTANCES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "No sudo": a_user_without_sudo,
    "A port that another program has": a_port_that_is_taken,
}


def together(section: Section) -> tuple[Section, ...]:
    """Return the sections that are wrong in one run, which says all that is wrong with applications at once."""
    if section.alone:
        return (section,)
    return tuple(one for one in SECTIONS if one.chapter == section.chapter and not one.alone)


def fingerprint() -> str:
    """Return what a run would change first: packages, users, units, and the folders of Slipway."""
    return BARE.run(
        "sh -c 'dpkg-query -W; cat /etc/passwd; ls -A /etc /etc/systemd/system /srv; ls -A /etc/slipway 2>&1 || true'"
    )


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git repository with an application, in place of the one that the document speaks of."""
    folder = tmp_path_factory.mktemp("git") / "notes.git"
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["cp", "-r", ROOT / "tests/apps/notes", folder], check=True)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=first"]):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


@cache
def said_of(together: tuple[Section, ...], repository: Path) -> str:
    """Return what a run on the bare host says, in one line; the host must be as it was."""
    variables: dict[str, Any] = {"fastapi_app_board": "", "apps": {}}
    for section in together:
        given = section.variables
        variables |= given | {"apps": variables["apps"] | given.get("apps", {})}
    circumstance = CIRCUMSTANCES.get(together[0].title, nullcontext)
    with circumstance():
        before = fingerprint()
        text = json.dumps(variables).replace(
            "https://git.example.org/notes.git", f"file://{repository}"
        )
        run = play("playbooks/preflight.yml", INVENTORY, "--limit", BARE.name, "--extra-vars", text)
        assert fingerprint() == before
    assert run.returncode != 0, run.stdout
    return one_line(f"{run.stdout} {run.stderr}")


def one_line(text: str) -> str:
    """Return a text on one line; YAML doubles a quote within quotes."""
    return " ".join(text.split()).replace("''", "'")


def assert_said(section: Section, output: str, host: str, repository: Path) -> None:
    """Check that the output has what a section says, but for what that leaves out with …, in its order."""
    text = re.sub(r"\bvm1\b", host, section.said)
    text = one_line(text.replace("https://git.example.org/notes.git", f"file://{repository}"))
    pattern = ".*?".join(re.escape(part.strip()) for part in text.split("…"))
    assert re.search(pattern, output), f"{text}\n\nis not in\n\n{output}"


BEFORE = [section for section in SECTIONS if section.chapter != "At the start of a release"]
AT_START = [section for section in SECTIONS if section not in BEFORE]


@pytest.mark.parametrize("section", BEFORE, ids=lambda section: section.title)
def test_a_run_stops_before_anything_is_changed(section: Section, repository: Path) -> None:
    assert_said(section, said_of(together(section), repository), BARE.name, repository)


@pytest.fixture(scope="module")
def own_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an inventory with a host of its own."""
    host = str(ROOT / "tests/hosts/host")
    subprocess.run([host, "create", OWN, "--image", "debian13"], check=True)
    try:
        inventory = tmp_path_factory.mktemp("inventory") / "hosts.yml"
        hosts = {OWN: {"ansible_user": "deploy"}}
        inventory.write_text(yaml.safe_dump({"app": {"hosts": hosts}}))
        yield inventory
    finally:
        subprocess.run([host, "destroy", OWN], check=True)


@pytest.mark.parametrize("section", AT_START, ids=lambda section: section.title)
def test_a_release_that_does_not_start(section: Section, own_host: Path, repository: Path) -> None:
    variables = json.dumps({"fastapi_app_board": ""} | section.variables)
    run = play("playbooks/deploy.yml", own_host, "--extra-vars", variables)
    assert run.returncode != 0, run.stdout
    assert_said(section, one_line(f"{run.stdout} {run.stderr}"), OWN, repository)


def test_the_document_has_what_people_get_wrong() -> None:
    assert len(SECTIONS) >= 10
    # Those that are wrong in one run are so under names of their own.
    names = [
        name for section in SECTIONS if not section.alone for name in section.variables["apps"]
    ]
    assert len(names) == len(set(names))
