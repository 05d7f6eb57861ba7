#!/usr/bin/env python3
"""Draw what `make bench` has measured: plot.py FOLDER, with bench.json and rates.json in it.

Wants matplotlib, which is locked in requirements/bench.txt and is nobody else's affair.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

INK, OURS, AIM = "#222222", "#2f6f8f", "#c0392b"
PARTS = {"nginx": "#6a8caf", "application": "#2f6f8f", "PostgreSQL": "#d19a3d"}


def ratios(listed: list[dict[str, Any]], path: Path) -> None:
    """Draw each ratio with its least and most, and its aim, on a logarithmic scale."""
    compared = [one for one in reversed(listed) if not one["at_most"]]
    names = [f"{one['against']}: {one['on']}".replace("`", "") for one in compared]
    values = [one["ratio"] for one in compared]
    reach = [
        [one["ratio"] - one["min"] for one in compared],
        [one["max"] - one["ratio"] for one in compared],
    ]
    figure, axes = pyplot.subplots(figsize=(10, 0.42 * len(compared) + 1.2))
    places = range(len(compared))
    axes.barh(places, values, xerr=reach, color=OURS, ecolor=INK, height=0.6, capsize=2)
    for place, one in zip(places, compared, strict=True):
        if one["aim"] is not None:
            axes.plot([one["aim"]] * 2, [place - 0.42, place + 0.42], color=AIM, linewidth=2)
        axes.annotate(
            f"{one['ratio']:g}",
            (max(one["max"], one["aim"] or 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_xlabel("times as many requests a second; the red line is the aim")
    axes.margins(x=0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def cpu(listed: list[dict[str, Any]], path: Path) -> None:
    """Draw where the CPU of each step goes."""
    steps = [
        one for one in reversed(listed) if one["step"].partition("/")[2] in ("small", "row", "list")
    ]
    figure, axes = pyplot.subplots(figsize=(10, 0.36 * len(steps) + 1.2))
    places, left = range(len(steps)), [0.0] * len(steps)
    for part, colour in PARTS.items():
        values = [one["cpu_us"].get(part, 0.0) for one in steps]
        axes.barh(places, values, left=left, color=colour, height=0.6, label=part)
        left = [begun + value for begun, value in zip(left, values, strict=True)]
    axes.set_yticks(places, [one["step"] for one in steps], fontsize=8)
    axes.set_xlabel("CPU a request, µs; without the client's")
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def main() -> None:
    """Draw both."""
    folder = Path(sys.argv[1])
    ratios(json.loads((folder / "bench.json").read_text()), folder / "ratios.png")
    cpu(json.loads((folder / "rates.json").read_text()), folder / "cpu.png")


if __name__ == "__main__":
    main()
