"""What is measured without a sandbox has none, and is the same unit otherwise."""

from __future__ import annotations

import pytest
from tests.bench.hardening import run

UNIT = """\
# Managed
[Service]
User=board
Restart=always
RestartSec=1
CPUSchedulingPolicy=batch
ExecStart=/srv/board/gunicorn \\
    --config gunicorn.conf.py
NoNewPrivileges=true
ProtectSystem=strict
ReadWritePaths=/run/board \\
    /srv/board/shared
MemoryMax=75%
CPUWeight=100
SystemCallFilter=~@privileged
RestrictNamespaces=yes
UMask=0027
LoadCredential=KEY:/srv/board/secrets/KEY

[Install]
WantedBy=multi-user.target
"""
BARE = """\
# Managed
[Service]
User=board
Restart=always
RestartSec=1
CPUSchedulingPolicy=batch
ExecStart=/srv/board/gunicorn \\
    --config gunicorn.conf.py
UMask=0027
LoadCredential=KEY:/srv/board/secrets/KEY

[Install]
WantedBy=multi-user.target
"""


def test_the_sandbox_goes_and_all_else_stays() -> None:
    assert run.stripped(UNIT) == BARE
    assert run.stripped(BARE) == BARE


def test_the_ratio_is_the_median_of_those_of_the_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    rates = {
        ("small JSON", "with"): [990.0, 960, 1100],
        ("small JSON", "without"): [1000.0, 1000, 1000],
        ("list of 50", "with"): [96.0, 96, 100],
        ("list of 50", "without"): [100.0, 100, 100],
    }
    assert run.report(rates, {"with": "1.2", "without": "9.2"}) == ["list of 50"]
    said = capsys.readouterr().out
    assert (
        "| small JSON | 990 (960 to 1,100) | 1,000 (1,000 to 1,000) | 0.990 (0.960 to 1.100) |"
        in said
    )
