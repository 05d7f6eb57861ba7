#!/usr/bin/env python3
"""Measure the first and the second run of site.yml against the floor, on fresh hosts, in turn.

    tests/bench/converge/run.py [ROUNDS]        3 rounds unless told

Each round makes two bare Debian 13 hosts and times, one after the other so that they don't compete: `floor.sh` on
one; `site.yml` on the other, twice. Odd rounds begin with the floor, even rounds with site.yml. The release's wheels
are on the control node before either starts. Prints seconds (median, min, max) and the two ratios.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HOST = ROOT / "tests/hosts/host"
SSH = ["ssh", "-F", str(ROOT / ".slipway/ssh/config")]
PLAY = [
    str(Path(sys.executable).parent / "ansible-playbook"),
    "--inventory",
    str(HERE / "inventory"),
    f"--ssh-common-args=-F {ROOT}/.slipway/ssh/config",
]


def run(*command: str | Path) -> str:
    """Run a command from the repository's root and return its output; end with it if it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    return done.stdout


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def recap(output: str) -> int:
    """Return how many tasks of a run changed something."""
    (line,) = [
        line for line in output.splitlines() if line.startswith("bench-kit ") and "ok=" in line
    ]
    return int(line.split("changed=")[1].split()[0])


def material(folder: Path) -> None:
    """Lay out what floor.sh needs, from the very archives that site.yml has built for its host."""
    built = ROOT / ".slipway/build"
    newest = max(built.glob("releases/board-*-cp313-*"), key=lambda path: path.stat().st_mtime)
    with tarfile.open(newest) as archive:
        archive.extractall(folder)
    (release,) = folder.iterdir()
    for item in release.iterdir():
        item.rename(folder / item.name)
    pins = (folder / "requirements.txt").read_text().count("==")
    for candidate in built.glob("wheels/*.tar"):
        with tarfile.open(candidate) as archive:
            names = archive.getnames()
            if any("cp313" in name for name in names) and len(names) == pins:
                archive.extractall(folder)
                (folder / Path(names[0]).parent).rename(folder / "wheels")
                break
    else:
        sys.exit("no wheels in .slipway/build; is the release built?")
    (uv,) = built.glob("uv/uv-*-x86_64")
    shutil.copy(uv, folder / "uv")


def floor(folder: Path) -> None:
    """Copy the material to the floor's host and run floor.sh there."""
    login = " ".join([*SSH, "root@bench-floor"])
    run("sh", "-c", f"tar -c -C {folder} . | {login} 'mkdir /opt/floor && tar -x -C /opt/floor'")
    run("sh", "-c", f"{login} 'bash -s /opt/floor' < {HERE / 'floor.sh'}")


def round_of(number: int, folder: Path) -> dict[str, float]:
    """Return the seconds of one round: floor, first and second."""
    run(HOST, "destroy", "bench-floor", "bench-kit")
    run(HOST, "create", "bench-floor", "--image=debian13")
    run(HOST, "create", "bench-kit", "--image=debian13")
    taken: dict[str, float] = {}

    def site() -> None:
        taken["first"] = seconds(lambda: run(*PLAY, "site.yml"))
        begun = time.perf_counter()
        changed = recap(run(*PLAY, "site.yml"))
        taken["second"] = time.perf_counter() - begun
        if changed:
            sys.exit(f"the second run changed {changed} tasks' worth")

    steps = [lambda: taken.update(floor=seconds(lambda: floor(folder))), site]
    for step in steps if number % 2 else reversed(steps):
        step()
    return taken


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("building the release and the image", flush=True)
    run(HOST, "create", "bench-kit", "--image=debian13")
    run(*PLAY, "playbooks/preflight.yml")
    with tempfile.TemporaryDirectory() as scratch:
        material(Path(scratch))
        taken = []
        for number in range(1, rounds + 1):
            taken.append(round_of(number, Path(scratch)))
            print(
                f"round {number}: "
                + ", ".join(f"{name} {value:.1f} s" for name, value in taken[-1].items()),
                flush=True,
            )
    run(HOST, "destroy", "bench-floor", "bench-kit")
    median = {
        name: statistics.median(one[name] for one in taken) for name in ("floor", "first", "second")
    }
    print(f"\n{'':8}{'median':>8}{'min':>8}{'max':>8}  seconds")
    for name, value in median.items():
        values = [one[name] for one in taken]
        print(f"{name:8}{value:8.1f}{min(values):8.1f}{max(values):8.1f}")
    ratios = {
        "first/floor": median["first"] / median["floor"],
        "second/first": median["second"] / median["first"],
    }
    print("\n" + json.dumps({name: round(value, 2) for name, value in ratios.items()}))


if __name__ == "__main__":
    main()
