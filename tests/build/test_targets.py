"""One release for hosts that differ: one id, and for each the wheels that run there; aarch64 on paper."""

from __future__ import annotations

from pathlib import Path

from slipway_build.target import Target
from tests.build.tools import ROOT, Build, members, wheels

HOSTS = [
    Target("3.13.5", "x86_64", "2.41"),
    Target("3.13.5", "aarch64", "2.41"),
    Target("3.11.2", "aarch64", "2.36"),
]


def test_the_board_is_one_release_with_wheels_of_its_own_for_every_host(release: Build) -> None:
    built = {
        host: release(
            name="board",
            source=str(ROOT / "app"),
            module="board.main:app",
            static="static",
            system_python=host.python,
            architecture=host.architecture,
            glibc=host.glibc,
        )
        for host in HOSTS
    }
    assert len({item["id"] for item in built.values()}) == 1
    assert len({item["wheels_id"] for item in built.values()}) == len(HOSTS)
    for host, item in built.items():
        assert len(wheels(item)) > 20
        assert {name for name in wheels(item) if not host.runs(name)} == set()
        native = {name for name in wheels(item) if name.endswith(f"_{host.architecture}.whl")}
        assert len(native) > 5, "what is compiled differs"
        assert "dist/board-0.1.0-py3-none-any.whl" in members(item["archive"])
        assert (
            Path(item["uv"]).read_bytes()[18] == {"x86_64": 62, "aarch64": 183}[host.architecture]
        )
        assert item["server"] == [], "its own lock has the server"
