"""Filters that size a PostgreSQL server by the host that it is on: each value with the formula that it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Beside what applications may open: superuser_reserved_connections, the monitor, backups, somebody with psql.
RESERVED_CONNECTIONS = 15
# Another application then restarts nothing. A slot that nobody uses costs next to nothing.
LEAST_CONNECTIONS = 100
# A kernel of another version leaves a little more or less: no reason to size anything anew.
MEMORY_STEP = 128


@dataclass(frozen=True)
class Machine:
    """What a server has to itself or shares: MB of memory and of the data's file system, cores, and kind of disk."""

    memory: int
    cores: int
    disk: int
    rotating: bool

    @staticmethod
    def of(look: str, storage: str) -> Machine:
        """Read what a host has said of itself.

        Args:
            look: Lines such as ``memory: 4022312`` (kB), ``cores: 2``, ``disk: 20031`` (MB) and ``rotating: 0``.
            storage: ``ssd`` or ``rotating``; ``auto`` believes the host.

        Raises:
            KeyError: It has not said all of it.
        """
        said = dict(re.findall(r"(?m)^(memory|cores|disk|rotating): (\d+)\r?$", look))
        steps = max(1, round(int(said["memory"]) / 1024 / MEMORY_STEP))
        rotating = storage == "rotating" or (storage == "auto" and said["rotating"] == "1")
        return Machine(steps * MEMORY_STEP, int(said["cores"]), int(said["disk"]), rotating)


def clamp(value: float, least: int, most: int) -> int:
    """Return a value, rounded down and kept within bounds."""
    return max(least, min(most, int(value)))


def max_connections(databases: Iterable[Mapping[str, Any]], given: int = 0) -> int:
    """Return how many connections a server takes: what it is given, or what its databases need.

    Args:
        databases: What ``postgresql_databases`` has; ``connections`` is how many its application may open.
        given: ``postgresql_max_connections``, 0 if it is left open.
    """
    return given or max(LEAST_CONNECTIONS, needed_connections(databases))


def needed_connections(databases: Iterable[Mapping[str, Any]]) -> int:
    """Return how many connections the applications of databases may open, and those that are kept for others."""
    present = (one for one in databases if one.get("state", "present") == "present")
    return sum(int(one.get("connections", 0)) for one in present) + RESERVED_CONNECTIONS


def tuning(
    look: str,
    share: float,
    connections: int,
    storage: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the settings that follow from a host, each with ``name``, ``value`` and ``formula``.

    Args:
        look: What the host has said of itself; see ``Machine.of``.
        share: The part of its memory that the server may count on, above 0 and up to 1.
        connections: ``max_connections``.
        storage: See ``Machine.of``.
        overrides: Values that somebody has chosen, by the setting's name.
    """
    machine = Machine.of(look, storage)
    mine = int(machine.memory * share)
    buffers = mine // 4
    wal = clamp(machine.disk / 20, 256, 16384)
    parallel = clamp(machine.cores / 2, 0, 4)
    disk = "a rotating disk" if machine.rotating else "an SSD"
    rows = [
        ("shared_buffers", f"{buffers}MB", f"1/4 of {mine} MB"),
        ("effective_cache_size", f"{mine - buffers}MB", f"the rest of {mine} MB"),
        ("maintenance_work_mem", f"{clamp(mine / 16, 64, 1024)}MB", f"1/16 of {mine} MB, 64 MB to 1 GB"),
        (
            "work_mem",
            f"{clamp((mine - buffers) / (3 * connections), 4, 64)}MB",
            f"({mine} - {buffers}) MB / (3 * {connections} connections), 4 to 64 MB",
        ),
        ("max_wal_size", f"{wal}MB", f"1/20 of a disk of {machine.disk} MB, 256 MB to 16 GB"),
        ("min_wal_size", f"{wal // 4}MB", "1/4 of max_wal_size"),
        ("checkpoint_timeout", "15min", "fewer pages written whole to the WAL than with 5min"),
        ("wal_compression", "lz4", "pages that are written whole take a third"),
        ("max_worker_processes", max(8, machine.cores), f"{machine.cores} cores, at least 8"),
        ("max_parallel_workers", machine.cores, f"{machine.cores} cores"),
        ("max_parallel_workers_per_gather", parallel, f"half of {machine.cores} cores, at most 4"),
        ("max_parallel_maintenance_workers", parallel, f"half of {machine.cores} cores, at most 4"),
        ("random_page_cost", 4.0 if machine.rotating else 1.1, disk),
        ("effective_io_concurrency", 2 if machine.rotating else 200, disk),
    ]  # fmt: skip
    chosen = {name: value for name, value in (overrides or {}).items() if str(value) != ""}
    return [
        {"name": name, "value": chosen[name], "formula": f"chosen; else {value}: {formula}"}
        if name in chosen
        else {"name": name, "value": value, "formula": formula}
        for name, value, formula in rows
    ]


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by the name that templates use."""
        return {
            "slipway_max_connections": max_connections,
            "slipway_needed_connections": needed_connections,
            "slipway_tuning": tuning,
        }
