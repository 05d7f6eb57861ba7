"""An application's unit, its settings, its users and its folders, as systemd and Gunicorn read them."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .conftest import ROOT, Host, read

UNIT = "etc/systemd/system/app@.service.j2"
USERS = "etc/sysusers.d/slipway.conf.j2"
GUNICORN = "srv/gunicorn.conf.py.j2"
SERVER = "srv/slipway_server.py.j2"
SOCKET = "etc/systemd/system/app.socket.j2"
HOLDER = "etc/systemd/system/app.socket.service.j2"
ENVIRONMENT = "srv/environment.j2"
FOLDERS = "etc/tmpfiles.d/slipway.conf.j2"
TIMER = "etc/systemd/system/app@.timer.j2"
COMMANDS = "srv/commands.j2"
WORKER = {"name": "worker", "run": 'printf "<%s>" "$MOTTO" two'}
DIGEST = {"name": "digest", "run": "true", "on_calendar": "Mon..Fri 07:00"}
APPS = ("shop", "hello")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def render(host: Host, template: str, app: str = "shop", **variables: Any) -> str:
    """Return a template as it is for one application."""
    task = {
        "__fastapi_app_name": app,
        "__fastapi_app_release_id": "0123456789ab",
        "__fastapi_app_state": {"live": "blue"},
    }
    return host.render("fastapi_app", template, **task, **variables)


def write_settings(host: Host, folder: Path, app: str = "shop", **variables: Any) -> Path:
    """Write what a slot's server is set by, and return the path of Gunicorn's settings."""
    (folder / "slipway_server.py").write_text(render(host, SERVER, app, **variables))
    path = folder / "gunicorn.conf.py"
    path.write_text(render(host, GUNICORN, app, **variables))
    return path


@pytest.fixture(autouse=True)
def _forget_settings() -> Iterator[None]:
    """Have each test import its own slipway_server."""
    path = list(sys.path)
    yield
    sys.modules.pop("slipway_server", None)
    sys.path[:] = path


def settings(unit: str) -> dict[str, list[str]]:
    """Return what each key of a unit says, in order."""
    found = defaultdict(list)
    for line in unit.replace("\\\n", " ").splitlines():
        if match := re.match(r"(\w+)=(.*)", line):
            found[match[1]].append(" ".join(match[2].split()))
    return found


def ran(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and return what came of it."""
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


@needs_systemd
@pytest.mark.parametrize("app", APPS)
def test_systemd_has_no_complaint_about_the_unit(host: Host, app: str, tmp_path: Path) -> None:
    # It looks for the program that the unit starts.
    program = tmp_path / "srv" / app / "slots/blue/release/venv/bin/gunicorn"
    program.parent.mkdir(parents=True)
    program.symlink_to("/bin/true")
    unit = tmp_path / f"{app}@blue.service"
    unit.write_text(render(host, UNIT, app, fastapi_app_root=str(tmp_path / "srv")))
    said = ran("systemd-analyze", "verify", unit)
    # About other units of this machine it may have its own opinion.
    complaints = [
        line for line in said.stderr.splitlines() if str(unit) in line or unit.name in line
    ]
    assert complaints == []


@pytest.mark.parametrize("app", APPS)
def test_the_unit_runs_one_slot_as_the_applications_user(host: Host, app: str) -> None:
    unit = settings(render(host, UNIT, app))
    assert unit["User"] == unit["Group"] == [app]
    slot = f"/srv/{app}/slots/%i"
    assert unit["EnvironmentFile"] == [f"{slot}/environment"]
    assert unit["WorkingDirectory"] == [f"{slot}/release/src"]
    (command,) = unit["ExecStart"]
    assert command.split() == [
        f"{slot}/release/venv/bin/gunicorn",
        *("--config", f"{slot}/gunicorn.conf.py"),
        *("--bind", f"unix:/run/{app}/%i.sock"),
    ]
    assert unit["ReadWritePaths"] == [f"/run/{app} /srv/{app}/shared"]
    assert unit["WantedBy"] == ["multi-user.target"]


def test_workers_share_the_framework_and_not_the_application(host: Host, tmp_path: Path) -> None:
    settings = write_settings(host, tmp_path)
    code = (
        "import gc, runpy, sys; found = runpy.run_path(sys.argv[1]); "
        "print('fastapi' in sys.modules, found['wsgi_app'].partition(':')[0] in sys.modules, gc.get_freeze_count() > 0)"
    )
    said = ran(sys.executable, "-c", code, settings)
    assert said.stdout.split() == ["True", "False", "True"], said.stderr


@needs_systemd
def test_a_port_is_held_for_both_slots_by_a_socket_that_starts_neither(
    host: Host, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"fastapi_app_listen": ["0.0.0.0", "2001:db8::1"]}
    assert "Sockets" not in settings(render(host, UNIT))
    assert settings(render(host, UNIT, **more))["Sockets"] == ["shop-8000.socket"]
    assert "Sockets" not in settings(render(host, UNIT, __fastapi_app_process=WORKER, **more))
    held = settings(render(host, SOCKET, **more))
    assert held["ListenStream"] == ["0.0.0.0:8000", "[2001:db8::1]:8000"]
    assert held["BindIPv6Only"] == ["ipv6-only"] and "Accept" not in held
    for name, template in (("shop-8000.socket", SOCKET), ("shop-8000.service", HOLDER)):
        (tmp_path / name).write_text(render(host, template, **more))
    said = ran("systemd-analyze", "verify", tmp_path / "shop-8000.socket")
    assert [line for line in said.stderr.splitlines() if "shop-8000" in line] == []


def test_uvicorn_alone_is_run_from_the_slot(host: Host) -> None:
    spec = {
        "name": "shop",
        "server": "uvicorn",
        "port": 8000,
        "sandbox": {},
        "secrets_as": "environment",
        "secrets_generated": [],
    }
    (command,) = settings(render(host, UNIT, __fastapi_app_spec=spec))["ExecStart"]
    slot = "/srv/shop/slots/%i"
    assert command.split() == [
        f"{slot}/release/venv/bin/python",
        f"{slot}/slipway_server.py",
        "/run/shop/%i.sock",
    ]


def exposure(unit: Path) -> float:
    """Return what ``systemd-analyze security`` makes of a unit: 0 is nothing, 10 all that there is."""
    said = ran("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said.stdout)
    assert found, said.stderr
    return float(found[1])


@needs_systemd
@pytest.mark.parametrize("process", [{}, WORKER, DIGEST], ids=["slot", "service", "job"])
def test_systemd_finds_next_to_nothing_exposed(
    host: Host, tmp_path: Path, process: dict[str, str]
) -> None:
    unit = tmp_path / "shop@blue.service"
    unit.write_text(render(host, UNIT, __fastapi_app_process=process))
    assert exposure(unit) <= 1.5
    unit.write_text(render(host, UNIT, __fastapi_app_process=process, fastapi_app_sandbox=False))
    assert exposure(unit) > 1.5


def changed(host: Host, **keys: Any) -> str:
    """Return the unit of an application with some keys changed."""
    spec = host.variables("fastapi_app")["slipway_apps"]["shop"]
    return render(host, UNIT, __fastapi_app_spec=spec | keys)


def test_what_an_application_says_of_its_sandbox_comes_after_what_is_said_for_it(
    host: Host,
) -> None:
    given = {
        "MemoryMax": "2G",
        "IPAddressDeny": "any",
        "IPAddressAllow": ["localhost", "10.0.0.0/8"],
    }
    unit = settings(changed(host, sandbox=given | {"SystemCallFilter": "@resources"}))
    assert unit["MemoryMax"] == ["2G"]
    assert unit["IPAddressAllow"] == ["localhost 10.0.0.0/8"]
    assert unit["SystemCallFilter"][0] == "@system-service"
    assert unit["SystemCallFilter"][-1] == "@resources"


def test_secrets_as_files_are_handed_on_by_systemd_from_the_slot(host: Host) -> None:
    made = {"secrets_generated": ["MADE"]}
    slot = "/srv/shop/slots/%i"
    unit = settings(changed(host, **made))
    assert unit["EnvironmentFile"] == [f"{slot}/environment", f"{slot}/generated"]
    assert "LoadCredential" not in unit
    unit = settings(changed(host, secrets_as="files", **made))
    assert unit["EnvironmentFile"] == [f"{slot}/environment"]
    assert unit["LoadCredential"] == [
        f"{name}:{slot}/secrets/{name}" for name in ("MADE", "SESSION_KEY")
    ]


def of_task(host: Host, file: str, path: str, **spec: Any) -> Any:
    """Return what the first task of a file of the role gives its module: ``path`` leads there."""
    tasks: Any = read(ROOT / "roles/fastapi_app/tasks" / file)  # a list, at the top of such a file
    task = tasks[0]
    given = host.variables("fastapi_app")
    app = given["slipway_apps"]["shop"] | spec
    more = {
        "__fastapi_app_name": "shop",
        "__fastapi_app_spec": app,
        "__fastapi_app_state": {"live": "blue", "serving": {"release": "r0"}},
        "__fastapi_app_release_id": "r1",
        "__fastapi_app_moment": "before_switch",
        "__fastapi_app_build": {"version": "1"},
    }
    wanted = task
    for key in path.split("/"):
        wanted = wanted[key]
    return Templar(DataLoader(), given | more | task.get("vars", {})).template(wanted)


def test_hooks_and_migrations_run_in_the_sandbox_that_the_application_has(host: Host) -> None:
    lines = render(host, UNIT).splitlines()
    argv = of_task(host, "hook.yml", "ansible.builtin.command/argv")
    sandbox = of_task(host, "migrate.yml", "release_migrate/sandbox")
    assert "SystemCallFilter=@system-service" in sandbox and set(sandbox) <= set(lines)
    assert {f"--property={line}" for line in sandbox} <= set(argv)


def test_a_hook_has_the_applications_secrets_as_that_has_them(host: Host) -> None:
    def handed(**spec: Any) -> list[str]:
        argv = of_task(host, "hook.yml", "ansible.builtin.command/argv", **spec)
        return [
            word for word in argv if re.match("--property=(EnvironmentFile|LoadCredential)", word)
        ]

    slot = "/srv/shop/slots/green"
    environment = f"--property=EnvironmentFile={slot}/environment"
    assert handed() == [environment]
    made = {"secrets_generated": ["MADE"]}
    assert handed(**made) == [environment, f"--property=EnvironmentFile={slot}/generated"]
    assert handed(secrets_as="files", **made) == [
        environment,
        *(
            f"--property=LoadCredential={name}:{slot}/secrets/{name}"
            for name in ("MADE", "SESSION_KEY")
        ),
    ]


def test_the_unit_comes_back_after_a_crash_and_after_any_number_of_them(host: Host) -> None:
    unit = settings(render(host, UNIT))
    assert unit["Restart"] == ["always"]
    assert unit["StartLimitIntervalSec"] == ["0"]


@needs_systemd
def test_systemd_has_no_complaint_about_services_and_timers(host: Host, tmp_path: Path) -> None:
    units = {
        "shop-worker@blue.service": render(host, UNIT, __fastapi_app_process=WORKER),
        "shop-digest@blue.service": render(host, UNIT, __fastapi_app_process=DIGEST),
        "shop-digest@blue.timer": render(host, TIMER, __fastapi_app_process=DIGEST),
    }
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    said = ran("systemd-analyze", "verify", *(tmp_path / name for name in units))
    complaints = [line for line in said.stderr.splitlines() if any(name in line for name in units)]
    assert complaints == []


def test_a_service_runs_as_the_application_does_but_for_its_command(host: Host) -> None:
    application = settings(render(host, UNIT))
    service = settings(render(host, UNIT, __fastapi_app_process=WORKER))
    differ = {key for key in application | service if application[key] != service[key]}
    assert differ == {"Description", "Type", "NotifyAccess", "ExecStart"}
    assert service["ExecStart"] == ["/bin/sh /srv/shop/slots/%i/commands worker"]


def test_a_job_runs_when_its_timer_says_and_not_at_boot(host: Host) -> None:
    job = settings(render(host, UNIT, __fastapi_app_process=DIGEST))
    timer = settings(render(host, TIMER, __fastapi_app_process=DIGEST))
    assert job["Type"] == ["oneshot"]
    assert "Restart" not in job and "WantedBy" not in job
    assert timer["OnCalendar"] == ["Mon..Fri 07:00"]
    assert timer["WantedBy"] == ["timers.target"]


def test_every_unit_says_whose_it_is(host: Host) -> None:
    # By this they are found again when the inventory no longer names them.
    for template, process in ((UNIT, {}), (UNIT, DIGEST), (TIMER, DIGEST)):
        unit = render(host, template, __fastapi_app_process=process)
        assert "\nX-Slipway-App=shop\n" in unit


def test_commands_are_run_as_a_shell_reads_them_and_a_failing_one_ends_them(
    host: Host, tmp_path: Path
) -> None:
    migrate = [
        {"run": "echo one\nfalse\necho two", "as": "owner"},
        {"run": "echo three", "as": "app"},
    ]
    spec = {"services": [WORKER], "timers": [DIGEST], "migrate": migrate}
    path = tmp_path / "commands"
    path.write_text(render(host, COMMANDS, __fastapi_app_spec=spec))

    def run(name: str) -> tuple[int, str]:
        said = subprocess.run(
            ["sh", path, name], env={"MOTTO": "a  $b"}, capture_output=True, text=True, check=False
        )
        return said.returncode, said.stdout

    assert run("worker") == (0, "<a  $b><two>")
    assert run("digest") == (0, "")
    assert run("migrate.1") == (1, "one\n")
    assert run("migrate.2") == (0, "three\n")


def test_no_setting_of_the_application_stands_in_the_unit(host: Host) -> None:
    # A unit is readable by all; only PATH is set there.
    unit = render(host, UNIT)
    (environment,) = settings(unit)["Environment"]
    assert environment.startswith("PATH=")
    assert "postgresql:///" not in unit
    assert "MOTTO" not in unit


def test_each_that_waits_for_a_slot_to_end_waits_longer_than_the_one_before(host: Host) -> None:
    options: dict[str, Any] = {
        "fastapi_app_graceful_timeout": 12,
        "fastapi_app_websocket_spread": 4,
    }
    conf = render(host, GUNICORN, **options) + render(host, SERVER, **options)
    unit = settings(render(host, UNIT, **options))
    uvicorn = re.search(r'"timeout_graceful_shutdown": (\d+)', conf)
    gunicorn = re.search(r"^graceful_timeout = (\d+)$", conf, re.MULTILINE)
    assert uvicorn and gunicorn
    # WebSockets are closed one after another before uvicorn begins to wait.
    assert 0 < int(uvicorn[1]) < 12
    assert int(gunicorn[1]) == 12 + 4 < int(unit["TimeoutStopSec"][0])


@pytest.mark.parametrize(
    ("app", "module", "workers"),
    [("shop", "shop.main:app", 3), ("hello", "hello:api", len(os.sched_getaffinity(0)))],
)
def test_gunicorn_takes_its_settings(
    host: Host, app: str, module: str, workers: int, tmp_path: Path
) -> None:
    path = write_settings(host, tmp_path, app)
    name, attribute = module.split(":")
    code = (tmp_path / name.replace(".", "/")).with_suffix(".py")
    code.parent.mkdir(exist_ok=True)
    code.write_text(f"async def {attribute}(scope, receive, send): ...\n")
    said = ran(sys.executable, "-m", "gunicorn", "--config", path, "--print-config", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    taken = dict(line.split(" = ", 1) for line in said.stdout.splitlines() if " = " in line)
    taken = {name.strip(): value for name, value in taken.items()}
    assert taken["wsgi_app"] == module
    assert taken["workers"] == str(workers)
    # Nginx keeps a connection for a second: it is never Gunicorn who closes one first.
    assert int(taken["keepalive"]) >= 75
    assert int(taken["umask"]) == 0o007
    assert taken["control_socket_disable"] == "True"


@pytest.mark.parametrize(
    ("path", "strip_path", "root_path"),
    [("/", True, None), ("/a/b", True, "/a/b"), ("/a/b", False, None)],
)
def test_an_application_below_a_path_is_told_of_it_where_nginx_takes_it_off(
    host: Host, tmp_path: Path, path: str, strip_path: bool, root_path: str | None
) -> None:
    spec = {
        "module": "shop:create_app('a')",
        "workers": "auto",
        "path": path,
        "strip_path": strip_path,
        "server": "gunicorn",
    }
    conf = write_settings(host, tmp_path, __fastapi_app_spec=spec)
    read = runpy.run_path(str(conf))
    assert read["worker_class"].CONFIG_KWARGS.get("root_path") == root_path
    assert read["wsgi_app"] == "shop:create_app('a')"


def test_the_worker_ends_its_lifespan_in_time(host: Host, tmp_path: Path) -> None:
    path = write_settings(host, tmp_path)
    worker = runpy.run_path(str(path))["worker_class"]
    assert worker.CONFIG_KWARGS["timeout_graceful_shutdown"] == 28
    (parent,) = worker.__bases__
    assert worker.CONFIG_KWARGS.keys() > parent.CONFIG_KWARGS.keys()


def read_by_a_shell(path: Path, name: str) -> str:
    """Return a variable of an environment file; a shell reads double quotes as systemd does."""
    said = ran("sh", "-c", f'. "{path}"; printf %s "${{{name}-unset}}"')
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_the_environment_arrives_to_the_letter(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "environment"
    path.write_text(render(host, ENVIRONMENT))
    wanted = {
        "DATABASE_URL": "postgresql:///goods?host=/run/postgresql",
        "DEBUG": "false",
        "MOTTO": 'it\'s 50 % "off" at $HOME, `id` \\ and\n  a second line # with no comment',
        "SESSION_KEY": "the-only-secret-there-is",
        "SLIPWAY_RELEASE": "0123456789ab",
        "SLIPWAY_SHARED": "/srv/shop/shared",
    }
    assert {name: read_by_a_shell(path, name) for name in wanted} == wanted


def test_an_application_without_a_database_is_told_of_none(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "environment"
    path.write_text(render(host, ENVIRONMENT, "hello"))
    assert read_by_a_shell(path, "SLIPWAY_RELEASE") == "0123456789ab"
    assert read_by_a_shell(path, "DATABASE_URL") == "unset"


@needs_systemd
@needs_root
def test_systemd_makes_users_and_folders_with_no_more_rights_than_needed(
    host: Host, tmp_path: Path
) -> None:
    top = tmp_path / "root"
    (top / "etc").mkdir(parents=True)
    for template, *command in (
        (USERS, "systemd-sysusers"),
        (FOLDERS, "systemd-tmpfiles", "--create"),
    ):
        conf = tmp_path / "slipway.conf"
        conf.write_text(host.render("fastapi_app", template))
        said = ran(*command, f"--root={top}", conf)
        assert said.returncode == 0, said.stderr
        assert "gnoring" not in said.stderr

    def lines(name: str) -> list[list[str]]:
        return [line.split(":") for line in (top / "etc" / name).read_text().splitlines()]

    users, groups = lines("passwd"), {gid: name for name, _, gid, _ in lines("group")}
    assert {name: groups[gid] for name, _, _, gid, *_ in users} == {
        "shop": "shop",
        "shop_migrator": "shop",
        "hello": "hello",
        "hello_migrator": "hello",
        "www-data": "www-data",
    }
    assert {shell for *_, shell in users} == {"/usr/sbin/nologin"}
    assert {name: members for name, _, _, members in lines("group") if members} == {
        "shop": "www-data",
        "hello": "www-data",
    }

    names = {"0": "root"} | {uid: name for name, _, uid, *_ in users}
    groups["0"] = "root"

    def rights(path: str) -> str:
        said = (top / path).lstat()
        return (
            f"{names[str(said.st_uid)]}:{groups[str(said.st_gid)]} {stat.S_IMODE(said.st_mode):o}"
        )

    for app in APPS:
        home = f"srv/{app}"
        ours = ("", "releases", "slots", "slots/blue", "slots/green")
        assert {rights(f"{home}/{folder}") for folder in ours} == {f"root:{app} 750"}
        assert rights(f"{home}/shared") == f"{app}:{app} 750"
        assert rights(f"{home}/wheels") == "root:root 700"
        assert rights(f"run/{app}") == f"{app}:{app} 750"
        for slot in ("blue", "green"):
            socket = top / home / "slots" / slot / "app.sock"
            assert socket.readlink() == Path(f"/run/{app}/{slot}.sock")
