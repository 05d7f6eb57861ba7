"""What a run that has released something closes with: where the time went, and what its clients noticed of it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: slipway
type: aggregate
short_description: Drive the applications while they are released, and say where the time went
description:
  - Starts C(scripts/probe) when a task hands over a plan, see C(playbooks/tasks/probe.yml), and ends it with the run.
  - At the end of a run in which something was released or taken back, prints where the time went, and how many requests
    failed. After a run that failed, only the latter.
  - Nothing is driven in a dry run. An error of its own is a warning, and never breaks a run.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

from ansible import context
from ansible.plugins.callback import CallbackBase

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / ".slipway/runs"
KEPT = 20  # results of runs

ROLE = "fastapi_app"  # whose tasks are called "<step> | ..."
SWITCH = "switch"
RECORD = "record | Record the releases on the board"
HAND_OVER, PLAN = "probe | Hand over what to drive", "slipway_probe_plan"
BEFORE, REST = "start-up and facts", "the rest"
SMALL = 0.01  # of all; steps that take less are one row
SHOWN = 5  # failures
BOARD_PATIENCE = 5  # seconds for each step of telling a board
PATIENCE = 45  # seconds for the probe's requests under way, which has its own limit

Method = TypeVar("Method", bound=Callable[..., None])


def process_age() -> float:
    """Return for how many seconds this process has been running, as far as the system tells."""
    try:
        ticks = float(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return 0.0


def step_of(role: str, name: str) -> str:
    """Return the step that a task is part of: of the role's own what stands before the bar, otherwise the role."""
    if role == ROLE and " | " in name:
        return name.removeprefix(f"{role} : ").partition(" | ")[0]
    return role


@dataclass
class Clock:
    """Where the time of a run went. All hosts go from task to task together, so a task takes what the slowest takes."""

    began: float
    step: str = BEFORE
    since: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    task: dict[str, float] = field(default_factory=dict)  # the parts of the task under way
    switched: float | None = None

    def __post_init__(self) -> None:
        self.since = self.began

    def turn(self, step: str, now: float) -> None:
        """Begin a task of a step, where the one before ends; a task of no step is part of what was before the first."""
        if not step:
            step = BEFORE if self.step == BEFORE else REST
        self.spent[self.step] = self.spent.get(self.step, 0.0) + now - self.since
        parts = self.parts.setdefault(self.step, {})
        for name, seconds in self.task.items():
            parts[name] = parts.get(name, 0.0) + seconds
        self.step, self.since, self.task = step, now, {}

    def part(self, steps: list[Mapping[str, Any]]) -> None:
        """Note of what the task under way consists, on the host where it takes longest."""
        parts = {str(each["name"]): float(each["seconds"]) for each in steps}
        if sum(parts.values()) > sum(self.task.values()):
            self.task = parts

    def rows(self) -> list[tuple[str, float, str]]:
        """Return a row for each step in order: its name, its seconds, and of what they consist."""
        total = sum(self.spent.values())
        rows = [
            (
                step,
                spent,
                ", ".join(f"{name} {duration(took)}" for name, took in self.parts[step].items()),
            )
            for step, spent in self.spent.items()
            if step != REST and spent >= SMALL * total
        ]
        rest = total - sum(spent for _, spent, _ in rows)
        return [*rows, (REST, rest, "")] if rest >= SMALL * total else rows

    def table(self) -> list[str]:
        """Return the rows as lines."""
        rows = self.rows()
        total = sum(seconds for _, seconds, _ in rows) or 1.0
        width = max(len(step) for step, _, _ in rows)
        return [
            f"  {step:<{width}}  {seconds:6.1f} s  {seconds / total:4.0%}  {parts}".rstrip()
            for step, seconds, parts in rows
        ]


def duration(seconds: float) -> str:
    """Return a time as a person reads it."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def driven(target: Mapping[str, Any]) -> str:
    """Return what is sent to an application, in few words."""
    labels = [f"{request['method']} {request['path']}" for request in target["requests"]]
    more = f" and {len(labels) - 3} more" if len(labels) > 4 else ""
    return f"{', '.join(labels[:3] if more else labels)}{more}, {target['rate']}/s"


def verdict(target: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the lines about an application, each with whether it is bad news."""
    name, socket = target["name"], result["websocket"]
    if result["skipped"]:
        yield f"{name}: not driven, it didn't answer before: {result['skipped']}", False
        return
    if not result["requests"]:
        yield f"{name}: not driven, the run was too short", False
        return
    head = f"{name}: {result['failed']} of {result['requests']} requests failed"
    if result["failed"]:
        head += f", for {duration(result['outage_ms'] / 1000)} at most"
    if result["retried"]:
        head += f", {result['retried']} sent twice"
    if result["worst_ms"]:
        head += f", worst {result['worst_ms']:.0f} ms"
    yield f"{head} ({driven(target)})", result["failed"] > 0
    if socket:
        yield f"  WebSocket {target['websocket']}: {stay(socket)}", socket["failed"] > 0
    for failure in result["failures"][:SHOWN]:
        at = datetime.fromisoformat(failure["at"]).astimezone().strftime("%H:%M:%S.%f")[:-3]
        yield f"  {at}  {failure['request']}: {failure['error']}", True
    lost = result["failed"] + (socket["failed"] if socket else 0)
    if lost > SHOWN:
        yield f"  and {lost - SHOWN} more", True


def stay(socket: Mapping[str, Any]) -> str:
    """Return how a WebSocket fared."""
    if socket["skipped"]:
        return f"not driven, it couldn't be opened before: {socket['skipped']}"
    if not socket["closes"]:
        return "stayed open"
    closes = ", ".join(
        f"{code} {'once' if times == 1 else f'{times} times'}"
        for code, times in socket["closes"].items()
    )
    failures = f", {socket['failed']} of it a failure" if socket["failed"] else ""
    return f"closed with {closes}, back within {duration(socket['worst_gap_ms'] / 1000)}{failures}"


def add_to_board(board: Mapping[str, Any], number: int, figures: Mapping[str, Any]) -> None:
    """Add what is known of a deployment to it, on the board.

    Args:
        board: Where it is, as `slipway_probe_plan` says it.
        number: The deployment's id there.
        figures: As the board's API takes them.

    Raises:
        OSError: It can't be reached, or refuses.
    """
    failure = OSError("it has no address")
    for address in (board["host"], *board["otherwise"]):
        try:
            plain = socket.create_connection((address, board["port"]), timeout=BOARD_PATIENCE)
            break
        except OSError as error:
            failure = error
    else:
        raise failure
    connection = http.client.HTTPConnection(board["host"], board["port"], timeout=BOARD_PATIENCE)
    context = ssl.create_default_context()
    for path in board["ca"]:
        context.load_verify_locations(path)
    with plain, context.wrap_socket(plain, server_hostname=board["host"]) as connection.sock:
        headers = {
            "Authorization": f"Bearer {board['token']}",
            "Content-Type": "application/json",
        }
        try:
            path = f"{board['path']}/{number}"
            connection.request("PATCH", path, json.dumps(figures), headers)
            status = connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"its answer is cut off: {error!r}") from error
        finally:
            connection.close()
    if status != 200:
        raise OSError(f"it answered {status}")


def never_breaks(method: Method) -> Method:
    """Have what goes wrong in a method be a warning: a run has better things to do than to fail for its report."""

    @wraps(method)
    def guarded(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        if self.broken:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.broken = True
            if self.probe:
                self.probe.kill()
            self._display.warning(
                f"The report of this run is left out: {type(error).__name__}: {error}"
            )

    return guarded  # type: ignore[return-value]


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "slipway"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.broken = False
        self.clock = Clock(time.monotonic() - process_age())
        self.playbook = ""
        self.play: Any = None
        self.plan: dict[str, Any] = {}
        self.recorded: list[tuple[str, dict[str, Any]]] = []
        self.probe: subprocess.Popen[str] | None = None
        self.said: IO[str]

    @never_breaks
    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Note which playbook it is."""
        self.playbook = Path(str(playbook._file_name)).stem

    @never_breaks
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Note which play it is."""
        self.play = play

    @never_breaks
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Count the time from now on for the task's step."""
        role = task._role.get_name() if task._role else ""
        self.clock.turn(step_of(role, task.get_name()), time.monotonic())

    @never_breaks
    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Count the time from now on for the handler's role."""
        self.v2_playbook_on_task_start(task, False)

    @never_breaks
    def v2_runner_on_ok(self, result: Any) -> None:
        """See what a task has done."""
        if result.task.get_name() == HAND_OVER:
            variables = self.play.get_variable_manager().get_vars(play=self.play, host=result.host)
            self.start(variables[PLAN])
        if result.task.get_name().endswith(RECORD):
            for each in result.result.get("recorded") or []:
                self.recorded.append((result.host.get_name(), each))
        steps = result.result.get("steps") or []
        self.clock.part(steps)
        if self.clock.step == SWITCH and result.is_changed():
            # What comes after the switch itself is part of the task, but not of the time until it.
            names = [each["name"] for each in steps]
            after = steps[names.index(SWITCH) + 1 :] if SWITCH in names else []
            self.clock.switched = time.monotonic() - sum(each["seconds"] for each in after)

    @never_breaks
    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say it all."""
        now = time.monotonic()
        self.clock.turn(REST, now)
        result = self.end()
        failed = bool(stats.failures or stats.dark)
        released = self.clock.switched is not None
        if context.CLIARGS.get("check") or not (released or failed):
            return
        if released and not failed:
            switched = (self.clock.switched or now) - self.clock.began
            self.say("WHERE THE TIME WENT", [(line, False) for line in self.clock.table()])
            self._display.display(
                f"  switched after {switched:.1f} s, {now - self.clock.began:.1f} s in all"
            )
        lines: list[tuple[str, bool]] = []
        for target in self.plan.get("targets", []):
            if target["name"] in result.get("targets", {}):
                lines += verdict(target, result["targets"][target["name"]])
        for name, why in self.plan.get("skipped", {}).items():
            lines.append((f"{name}: not driven, {why}", False))
        if lines:
            self.say("WHAT CLIENTS NOTICED", lines)
        if released or result:
            self.keep(result, now, failed)
        self.tell_boards(result)

    def say(self, title: str, lines: list[tuple[str, bool]]) -> None:
        """Print lines under a title, those that are bad news in red."""
        self._display.banner(title)
        for line, bad in lines:
            self._display.display(line, color="red" if bad else None)

    def start(self, plan: dict[str, Any]) -> None:
        """Start the probe. What it is to send goes through a pipe, and nowhere else."""
        self.plan = json.loads(json.dumps(plan))
        if not self.plan["targets"]:
            return
        self.said = TemporaryFile("w+")  # noqa: SIM115 - it is read at the end
        # A session of its own: an interrupt is this process's to handle, and its end is the probe's.
        self.probe = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts/probe"), "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            start_new_session=True,
            text=True,
        )
        assert self.probe.stdin
        self.probe.stdin.write(json.dumps({"targets": self.plan["targets"]}) + "\n")
        self.probe.stdin.flush()

    def end(self) -> dict[str, Any]:
        """End the probe and return its result; an empty one if there is none."""
        probe, self.probe = self.probe, None
        if not probe:
            return {}
        try:
            out, _ = probe.communicate(timeout=PATIENCE)  # which closes its standard input
        except subprocess.TimeoutExpired:
            probe.kill()
            out, _ = probe.communicate()
        try:
            result = json.loads(out)
        except ValueError:
            self.said.seek(0)
            why = self.said.read().strip() or "it was cut off"
            self._display.warning(f"What clients noticed is not known: {why}")
            return {}
        return result if isinstance(result, dict) else {}

    def tell_boards(self, result: Mapping[str, Any]) -> None:
        """Add to what this run has recorded where its time went, and what clients noticed."""
        steps = [{"name": name, "seconds": round(spent, 3)} for name, spent, _ in self.clock.rows()]
        for host, recorded in self.recorded:
            if not (board := self.plan.get("boards", {}).get(host)):
                continue
            figures: dict[str, Any] = {"steps": steps}
            target = result.get("targets", {}).get(recorded["app"], {})
            if target.get("requests"):
                kept = ("requests", "failed", "p50_ms", "p99_ms", "worst_ms", "latency")
                figures["probe"] = {key: target[key] for key in kept}
            try:
                add_to_board(board, recorded["id"], figures)
            except OSError as error:
                self._display.display(
                    f"The board on {host} was not told what clients noticed of {recorded['app']}: {error}"
                )

    def keep(self, result: Mapping[str, Any], now: float, failed: bool) -> None:
        """Keep what came of it beside the project, and of those before the newest."""
        RUNS.mkdir(parents=True, exist_ok=True)
        told = {
            "playbook": self.playbook,
            "failed": failed,
            "seconds": round(now - self.clock.began, 3),
            "switched": round(self.clock.switched - self.clock.began, 3)
            if self.clock.switched
            else None,
            "steps": [
                {
                    "name": name,
                    "seconds": round(seconds, 3),
                    "parts": self.clock.parts.get(name, {}),
                }
                for name, seconds in self.clock.spent.items()
            ],
            "probe": result.get("targets", {}),
            "skipped": self.plan.get("skipped", {}),
        }
        path = RUNS / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(told, indent=2) + "\n")
        for old in sorted(RUNS.glob("*.json"))[:-KEPT]:
            old.unlink(missing_ok=True)
