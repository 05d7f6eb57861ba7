"""A run that releases something says where the time went and what its clients noticed, and fails for neither.

Each test is a run of ansible-playbook with a role that has the name and the tasks' names of the real one, and with
applications that the test itself serves.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT
from .server import BAD, OK, Answer, Asked, Server

SECRET = "hush-0123456789"
RED = "\x1b[0;31m"

# Tells what it consists of, and shows who runs as what meanwhile.
STEPS = """\
#!/usr/bin/python
import pathlib, time
from ansible.module_utils.basic import AnsibleModule
spec = {name: {"type": kind} for name, kind in
        {"steps": "list", "seconds": "float", "changed": "bool", "recorded": "list"}.items()}
module = AnsibleModule(spec, supports_check_mode=True)
time.sleep(module.params["seconds"])
processes = pathlib.Path("/proc").glob("[0-9]*/cmdline")
seen = [path.read_bytes().replace(bytes(1), b" ").decode() for path in processes]
probes = [command for command in seen if "scripts/probe" in command]
module.exit_json(changed=module.params["changed"], steps=module.params["steps"], probes=probes,
                 recorded=module.params["recorded"])
"""


def task(name: str, seconds: float = 0.3, changed: bool = False, **keys: Any) -> dict[str, Any]:
    """Return a task of the role."""
    return {"name": name, "steps": {"seconds": seconds, "changed": changed}, **keys}


SWITCHES = [
    task("build | Build the releases", 0.6),
    {
        **task("start | Start it"),
        "steps": {"seconds": 0.4, "steps": [{"name": "import", "seconds": 0.31}]},
    },
    # It consists of more than the switch; that the time isn't the true one shows what is made of it.
    {
        **task("switch | Switch to it"),
        "steps": {
            **{"seconds": 0.3, "changed": True},
            "steps": [{"name": "switch", "seconds": 0.1}, {"name": "settle", "seconds": 1}],
        },
    },
    task("retire | Let it go", 0.2, changed=True),
]


QUICK = [task("switch | Switch to it", 0.6, changed=True)]


@dataclass
class Project:
    """A project with the plugins, the probe and the task of this one, and a role that is made up."""

    folder: Path
    inventory: dict[str, Any]

    def write(self, tasks: list[dict[str, Any]]) -> None:
        """Write the role, the playbook and the inventory."""
        role = self.folder / "roles/fastapi_app"
        (role / "tasks").mkdir(exist_ok=True)
        (role / "tasks/main.yml").write_text(yaml.safe_dump(tasks))
        play = {
            **{"hosts": "vm1", "gather_facts": False, "connection": "local"},
            "pre_tasks": [{"ansible.builtin.import_tasks": "tasks/probe.yml"}],
            "roles": ["fastapi_app"],
        }
        (self.folder / "playbooks/deploy.yml").write_text(yaml.safe_dump([play]))
        hosts = {"edge": {"hosts": {"vm1": self.inventory}}}
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(hosts))

    def command(self, *arguments: str) -> dict[str, Any]:
        """Return how to run the playbook."""
        return {
            "args": [
                *(Path(sys.executable).parent / "ansible-playbook", "--inventory", "hosts.yml"),
                *arguments,
                "playbooks/deploy.yml",
            ],
            "cwd": self.folder,
            "env": {**os.environ, "ANSIBLE_CONFIG": "ansible.cfg", "ANSIBLE_FORCE_COLOR": "1"},
            "text": True,
        }

    def run(self, tasks: list[dict[str, Any]], *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the playbook with the role's tasks."""
        self.write(tasks)
        return subprocess.run(**self.command(*arguments), capture_output=True, check=False)

    @property
    def runs(self) -> list[Path]:
        """Return what is kept of runs."""
        return sorted((self.folder / ".slipway/runs").glob("*"))


@pytest.fixture
def project(tmp_path: Path, server: Server, certificate: Path) -> Project:
    """Return a project with one application, which the test serves."""
    for path in ("plugins", "playbooks/tasks", "roles/fastapi_app/meta"):
        shutil.copytree(ROOT / path, tmp_path / path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/probe", tmp_path / "scripts/probe")
    (tmp_path / "roles/fastapi_app/library").mkdir()
    (tmp_path / "roles/fastapi_app/library/steps.py").write_text(STEPS)
    text = (ROOT / "ansible.cfg").read_text().replace("inventories/local", "hosts.yml")
    (tmp_path / "ansible.cfg").write_text(text)
    requests = [{"path": "/up", "headers": {"Authorization": f"Bearer {SECRET}"}}]
    app = {
        **{"source": "shop/", "module": "shop:app", "domains": ["localhost"]},
        "probe": {"rate": 50, "requests": requests},
    }
    inventory = {
        **{"ansible_host": "127.0.0.1", "ansible_python_interpreter": sys.executable},
        **{"nginx_https_port": server.port, "certificates_ca_fetch_to": str(certificate)},
        "apps": {"shop": app},
    }
    return Project(tmp_path, inventory)


def plain(text: str) -> str:
    """Return an output without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_a_release_closes_with_its_times_and_what_clients_noticed(
    project: Project, server: Server
) -> None:
    project.inventory["apps"]["desk"] = {
        **project.inventory["apps"]["shop"],
        **{"domains": ["desk.org"], "frontend": {"path": "dist"}, "probe": {}},
    }
    for number in range(25):
        path = project.folder / f".slipway/runs/2025-01-{number + 1:02}T00-00-00.000000Z.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = project.run(SWITCHES, "-vvv")
    assert done.returncode == 0, done.stdout
    end = plain(done.stdout).split("PLAY RECAP")[1]
    assert RED not in done.stdout.split("PLAY RECAP")[1]

    table = {
        line[: line.index(found[0])].strip(): float(found[1])
        for line in end.splitlines()
        if (found := re.search(r"([0-9.]+) s +\d+%", line))
    }
    steps = [step for step in table if step not in ("fastapi_app", "the rest")]
    assert steps == ["start-up and facts", "build", "start", "switch", "retire"]
    assert table["build"] >= 0.6 and table["switch"] >= 0.3
    assert re.search(r"start +[0-9.]+ s +\d+%  import 310 ms$", end, re.MULTILINE)
    assert re.search(r"switch +[0-9.]+ s +\d+%  switch 100 ms, settle 1.0 s$", end, re.MULTILINE)
    (switched, total) = re.findall(r"switched after ([0-9.]+) s, ([0-9.]+) s in all", end)[0]
    assert sum(table.values()) == pytest.approx(float(total), abs=0.5)
    assert float(total) - float(switched) == pytest.approx(1 + table["retire"], abs=0.5)

    (sent,) = re.findall(
        r"^shop: 0 of (\d+) requests failed, worst \d+ ms \(GET /up, 50/s\)$", end, re.M
    )
    assert int(sent) == len(server.seen) > 30
    assert (
        "desk: not driven, / isn't reached from outside; name a path that is in apps.desk.probe.requests"
        in end
    )

    *_, kept = project.runs
    assert len(project.runs) == 20 and kept.stat().st_mode & 0o777 == 0o600
    told = json.loads(kept.read_text())
    assert told["probe"]["shop"]["requests"] == int(sent) and told["playbook"] == "deploy"

    # The secret got where it belongs, and nowhere else.
    assert {asked.headers["authorization"] for asked in server.seen} == {f"Bearer {SECRET}".lower()}
    assert "scripts/probe" in done.stdout and SECRET not in done.stdout + done.stderr
    files = [
        path for path in project.folder.rglob("*") if path.is_file() and path.name != "hosts.yml"
    ]
    assert not [path for path in files if SECRET in path.read_text(errors="replace")]


RECORDS = {
    **task("record | Record the releases on the board"),
    "steps": {"seconds": 0.1, "recorded": [{"app": "shop", "id": 7}]},
}


def with_board(project: Project) -> None:
    """Have the host keep a board, which is the test's own server too."""
    variables = {"fastapi_app_board": "board", "fastapi_app_board_token": SECRET}
    board = {**project.inventory["apps"]["shop"], "path": "/board", "probe": {"rate": 0}}
    project.inventory |= {**variables, "apps": {**project.inventory["apps"], "board": board}}


def test_the_board_is_told_where_the_time_went_and_what_clients_noticed(
    project: Project, server: Server
) -> None:
    with_board(project)
    done = project.run([*QUICK, RECORDS])
    assert done.returncode == 0, done.stdout
    assert "was not told" not in done.stdout and SECRET not in done.stdout
    *requests, told = server.seen
    assert {asked.path for asked in requests} == {"/up"}
    assert (told.method, told.path) == ("PATCH", "/board/api/deployments/7")
    assert told.headers["authorization"] == f"Bearer {SECRET}".lower()
    said = json.loads(told.body)
    steps = [step["name"] for step in said["steps"]]
    assert steps[0] == "start-up and facts" and "switch" in steps
    assert (said["probe"]["requests"], said["probe"]["failed"]) == (len(requests), 0)
    assert said["probe"]["p50_ms"] <= said["probe"]["p99_ms"] <= said["probe"]["worst_ms"]
    course = said["probe"]["latency"]
    assert [sample["at"] for sample in course] == sorted(sample["at"] for sample in course)
    assert course[0].keys() == {"at", "p50_ms", "p99_ms", "failed"}


def test_a_board_that_refuses_is_no_failure(project: Project, server: Server) -> None:
    with_board(project)

    async def refuse(asked: Asked) -> Answer:
        return (BAD, False) if asked.method == "PATCH" else (OK, False)

    server.answer = refuse
    done = project.run([*QUICK, RECORDS])
    assert done.returncode == 0, done.stdout
    assert "The board on vm1 was not told what clients noticed of shop: it answered 502" in plain(
        done.stdout
    )


def test_what_clients_noticed_is_said_of_a_run_that_failed_too(
    project: Project, server: Server
) -> None:
    async def answer(_: Asked) -> Answer:
        return (BAD if 20 < len(server.seen) <= 30 else OK), False

    server.answer = answer
    stops = {"name": "start | Start it", "ansible.builtin.fail": {"msg": "It doesn't start."}}
    done = project.run([task("build | Build", 1.5), stops])
    assert done.returncode == 2
    end = plain(done.stdout).split("PLAY RECAP")[1]
    assert "WHERE THE TIME WENT" not in end and "switched after" not in end
    assert re.search(
        r"^shop: 10 of \d+ requests failed, for \d+ ms at most, worst \d+ ms", end, re.M
    )
    assert len(re.findall(r"^  \d\d:\d\d:\d\d\.\d{3}  GET /up: answered 502$", end, re.M)) == 5
    assert "\n  and 5 more" in end
    assert f"{RED}shop: 10 of" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "tasks", "driven"),
    [
        ([], [task("look | Look"), task("switch | Switch to it")], True),
        (["--check"], SWITCHES, False),
    ],
)
def test_where_nothing_was_released_nothing_is_said(
    project: Project,
    server: Server,
    arguments: list[str],
    tasks: list[dict[str, Any]],
    driven: bool,
) -> None:
    done = project.run(tasks, *arguments)
    assert done.returncode == 0, done.stdout
    for word in ("WHERE THE TIME WENT", "CLIENTS", "requests failed"):
        assert word not in done.stdout
    assert project.runs == []
    assert bool(server.seen) == driven


def test_it_can_be_left_out_of_a_run(project: Project, server: Server) -> None:
    done = project.run(QUICK, "-e", "probe=false")
    assert done.returncode == 0 and "switched after" in done.stdout
    assert "WHAT CLIENTS NOTICED" not in done.stdout and server.seen == []


def test_why_one_is_not_driven_is_said(project: Project) -> None:
    project.inventory["nginx_https_port"] = 1
    done = project.run(QUICK)
    assert done.returncode == 0
    assert "shop: not driven, it didn't answer before: connection refused" in plain(done.stdout)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise SystemExit('no such thing')", "What clients noticed is not known: no such thing"),
        ("", "The report of this run is left out: FileNotFoundError"),
    ],
)
def test_its_own_errors_are_warnings(project: Project, script: str, why: str) -> None:
    probe = project.folder / "scripts/probe"
    probe.write_text(script)
    if not script:
        module = project.folder / "plugins/callback/slipway.py"
        module.write_text(module.read_text().replace("sys.executable", '"/nowhere"'))
    done = project.run(QUICK)
    assert done.returncode == 0, done.stdout
    assert why in " ".join(plain(done.stdout + done.stderr).split())


def eventually(ask: Callable[[], object], seconds: float) -> bool:
    """Tell whether something comes true in time."""
    end = time.monotonic() + seconds
    while not (answer := ask()) and time.monotonic() < end:
        time.sleep(0.05)
    return bool(answer)


def test_the_probe_ends_with_a_run_that_is_killed(project: Project, server: Server) -> None:
    project.write([task("build | Build", 30)])
    run = subprocess.Popen(
        **project.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: len(server.seen) > 20, 15)
    finally:
        run.kill()
        run.wait()
    time.sleep(0.6)
    sent = len(server.seen)
    time.sleep(0.4)
    assert len(server.seen) == sent
