"""Drawings as SVG within the page: no script, and no style but that of the style sheet."""

import math
from collections.abc import Sequence

from board.deployments import Sample

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28  # room for the labels


def bar(share: float) -> str:
    """A bar that is as long as a share of the longest, from 0 to 1."""
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" focusable="false">'
        f'<rect width="{max(share, 0.005) * 100:.1f}" height="8" rx="1"/></svg>'
    )


def ticks(largest: float) -> list[float]:
    """Round numbers from 0 to just beyond the largest, three to six of them."""
    if largest <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(largest))
    step = next(size * part for part in (0.2, 0.5, 1, 2) if largest / (size * part) <= 5)
    return [step * number for number in range(math.ceil(largest / step) + 1)]


def latency(samples: Sequence[Sample]) -> str:
    """What requests took over a deployment: p50 and p99, and where any failed; empty without samples."""
    if len(samples) < 2:
        return ""
    ordered = sorted(samples, key=lambda sample: sample.at)
    begin, end = ordered[0].at, ordered[-1].at
    across, up = ticks(end - begin), ticks(max(sample.p99_ms for sample in ordered))

    def x(at: float) -> float:
        return LEFT + (at - begin) / ((end - begin) or 1) * (WIDTH - LEFT - RIGHT)

    def y(milliseconds: float) -> float:
        return HEIGHT - BOTTOM - milliseconds / up[-1] * (HEIGHT - TOP - BOTTOM)

    def line(name: str, points: list[tuple[float, float]]) -> str:
        drawn = " ".join(f"{x(at):.1f},{y(ms):.1f}" for at, ms in points)
        return f'<polyline class="{name}" points="{drawn}"/>'

    grid = "".join(
        f'<path class="grid" d="M{LEFT} {y(ms):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:.3g} ms</text>'
        for ms in up
    ) + "".join(
        f'<text x="{x(begin + at):.1f}" y="{HEIGHT - 4}" text-anchor="middle">{at:.3g} s</text>'
        for at in across
        if at <= end - begin
    )
    failed = "".join(
        f'<path class="failed" d="M{x(sample.at):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        for sample in ordered
        if sample.failed
    )
    worst = max(ordered, key=lambda sample: sample.p99_ms)
    lost = sum(sample.failed for sample in ordered)
    said = (
        f"Over {end - begin:.3g} s: p99 at most {worst.p99_ms:.3g} ms, after {worst.at:.3g} s; "
        f"p50 at most {max(sample.p50_ms for sample in ordered):.3g} ms; {lost:,} failed."
    )
    named = ' <span class="lost">failed</span>' if failed else ""
    return (
        f'<figure class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">'
        f"{grid}{failed}"
        f"{line('p99', [(sample.at, sample.p99_ms) for sample in ordered])}"
        f"{line('p50', [(sample.at, sample.p50_ms) for sample in ordered])}"
        '</svg><figcaption><span class="p50">p50</span> <span class="p99">p99</span>'
        f"{named} {said}</figcaption></figure>"
    )
