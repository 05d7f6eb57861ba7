"""What a server is given follows from its host, and each value says from what."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from .conftest import load

LOOK = "memory: 4022312\r\ncores: 4\r\ndisk: 40000\r\nrotating: 0\r\n"


@pytest.fixture(scope="module")
def tuning() -> ModuleType:
    """Return the plugin."""
    return load("plugins/filter/tuning.py")


def values(tuning: ModuleType, look: str = LOOK, **given: Any) -> dict[str, Any]:
    """Return the settings by name."""
    given = {"share": 0.5, "connections": 100} | given
    return {row["name"]: row["value"] for row in tuning.tuning(look, **given)}


def test_half_of_a_host_with_4_gb(tuning: ModuleType) -> None:
    assert values(tuning) == {
        "shared_buffers": "496MB",  # of 3968 MB
        "effective_cache_size": "1488MB",
        "maintenance_work_mem": "124MB",
        "work_mem": "4MB",
        "max_wal_size": "2000MB",
        "min_wal_size": "500MB",
        "checkpoint_timeout": "15min",
        "wal_compression": "lz4",
        "max_worker_processes": 8,
        "max_parallel_workers": 4,
        "max_parallel_workers_per_gather": 2,
        "max_parallel_maintenance_workers": 2,
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
    }


def test_all_of_a_large_one_with_few_connections(tuning: ModuleType) -> None:
    look = "memory: 131072000\ncores: 32\ndisk: 2000000\nrotating: 1\n"
    found = values(tuning, look, share=1.0, connections=40)
    assert found["shared_buffers"] == "32000MB"
    assert found["work_mem"] == "64MB"
    assert found["maintenance_work_mem"] == "1024MB"
    assert found["max_wal_size"] == "16384MB"
    assert found["max_worker_processes"] == 32
    assert found["max_parallel_workers_per_gather"] == 4
    assert (found["random_page_cost"], found["effective_io_concurrency"]) == (4.0, 2)


def test_the_smallest(tuning: ModuleType) -> None:
    look = "memory: 480000\ncores: 1\ndisk: 4000\nrotating: 0\n"
    found = values(tuning, look)
    assert found["shared_buffers"] == "64MB"
    assert found["maintenance_work_mem"] == "64MB"
    assert found["work_mem"] == "4MB"
    assert found["max_wal_size"] == "256MB"
    assert found["max_parallel_workers_per_gather"] == 0


def test_work_mem_is_what_is_left_for_three_for_each_connection(tuning: ModuleType) -> None:
    assert values(tuning, share=1.0, connections=31)["work_mem"] == "32MB"


def test_a_kernel_that_leaves_a_little_less_sizes_nothing_anew(tuning: ModuleType) -> None:
    assert values(tuning) == values(tuning, LOOK.replace("4022312", "4001000"))


@pytest.mark.parametrize(
    ("storage", "rotating", "cost"),
    [("auto", 0, 1.1), ("auto", 1, 4.0), ("ssd", 1, 1.1), ("rotating", 0, 4.0)],
)
def test_the_inventory_knows_better_than_the_kernel_what_the_disk_is(
    tuning: ModuleType, storage: str, rotating: int, cost: float
) -> None:
    look = LOOK.replace("rotating: 0", f"rotating: {rotating}")
    assert values(tuning, look, storage=storage)["random_page_cost"] == cost


def test_what_somebody_has_chosen_wins_and_says_so(tuning: ModuleType) -> None:
    rows = tuning.tuning(LOOK, 0.5, 100, overrides={"work_mem": "9MB", "shared_buffers": ""})
    by_name = {row["name"]: row for row in rows}
    assert by_name["work_mem"]["value"] == "9MB"
    assert by_name["work_mem"]["formula"].startswith("chosen; else 4MB: ")
    assert by_name["shared_buffers"]["value"] == "496MB"


def test_there_is_room_for_all_that_applications_may_open(tuning: ModuleType) -> None:
    shop, gone = {"connections": 60}, {"connections": 900, "state": "absent"}
    assert tuning.needed_connections([shop, shop, gone]) == 135
    assert tuning.max_connections([shop, shop, gone]) == 135
    assert tuning.max_connections([shop]) == 100
    assert tuning.max_connections([shop], 80) == 80
