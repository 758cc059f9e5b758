#!/usr/bin/env python3
"""How a headend's cost grows with its sessions: a table, and a drawing of it.

    growth.py SCALE.json [--svg FILE]

SCALE.json is what tests/e2e/scale.sh --json wrote: the measurements of switchback-load, one for each number of sessions.
"""

import argparse
import json
import math
import sys

COLUMNS = [
    ("sessions", "{:.0f}"),
    ("handshakes/s", "{:.0f}"),
    ("handshakes/s of core", "{:.0f}"),
    ("p50 ms", "{:.1f}"),
    ("p99 ms", "{:.1f}"),
    ("KiB each", "{:.1f}"),
    ("idle CPU %", "{:.2f}"),
    ("echo p99 ms", "{:.1f}"),
    ("in a storm: worst %", "{:.1f}"),
    ("restart: all back s", "{:.1f}"),
]


def phase(run, start, contains=""):
    """The first phase that begins with one text and contains another, or an empty one."""
    return next((p for p in run["phases"] if p["phase"].startswith(start) and contains in p["phase"]), {})


def cpu(of):
    return sum(((of.get("headend") or {}).get("cpu_seconds") or {}).values())


def scaled(value, factor):
    return None if value is None else value * factor


def row(run):
    ramp, hold, talk = phase(run, "ramp"), phase(run, "hold"), phase(run, "active")
    storm, restart = phase(run, "active", "storm"), phase(run, "restart")
    spent = cpu(ramp)
    return dict(zip((name for name, _ in COLUMNS), (
        ramp["sessions_up"],
        ramp["handshakes_per_second"],
        ramp["handshakes"] / spent if spent else None,
        ramp["handshake"]["p50_ms"],
        ramp["handshake"]["p99_ms"],
        scaled((hold.get("headend") or {}).get("bytes_per_session"), 1 / 1024),
        100 * cpu(hold) / hold["seconds"] if hold.get("headend") else None,
        talk.get("echo", {}).get("p99_ms"),
        scaled(storm.get("answered_share_worst"), 100),
        restart.get("all_back_seconds"),
    )))


def table(rows):
    lines = ["| " + " | ".join(name for name, _ in COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for one in rows:
        cells = ("–" if one[name] is None else form.format(one[name]) for name, form in COLUMNS)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def drawing(rows):
    """Small charts one below the other, sessions to the right on a logarithmic scale."""
    charts = [name for name in ("KiB each", "handshakes/s of core", "p99 ms", "idle CPU %", "restart: all back s")
              if any(one[name] is not None for one in rows)]
    width, height, left, gap = 640, 90, 70, 52
    low = math.log10(max(min(one["sessions"] for one in rows), 1))
    high = max(math.log10(max(one["sessions"] for one in rows)), low + 0.1)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 30}" height="{len(charts) * (height + gap) + 30}" '
           'font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%" fill="white"/>']
    for number, name in enumerate(charts):
        top = 30 + number * (height + gap)
        points = [(left + (math.log10(max(one["sessions"], 1)) - low) / (high - low) * width, one[name], one["sessions"])
                  for one in rows if one[name] is not None]
        most = max(value for _, value, _ in points) or 1
        out.append(f'<text x="{left}" y="{top - 8}" font-weight="bold">{name}</text>')
        out.append(f'<path d="M{left},{top} v{height} h{width}" fill="none" stroke="#888"/>')
        out.append(f'<text x="{left - 6}" y="{top + 10}" text-anchor="end">{most:.3g}</text>')
        out.append(f'<text x="{left - 6}" y="{top + height}" text-anchor="end">0</text>')
        place = [(x, top + height - value / most * (height - 8)) for x, value, _ in points]
        out.append('<polyline fill="none" stroke="#1f6fb2" stroke-width="2" points="' +
                   " ".join(f"{x:.1f},{y:.1f}" for x, y in place) + '"/>')
        for (x, y), (_, value, sessions) in zip(place, points):
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#1f6fb2"><title>{value:.4g}</title></circle>')
            out.append(f'<text x="{x:.1f}" y="{top + height + 15}" text-anchor="middle">{sessions}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--svg")
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as source:
        rows = [row(run) for run in json.load(source)["sizes"]]
    if not rows:
        print("growth.py: nothing was measured", file=sys.stderr)
        return 1
    print(table(rows))
    if arguments.svg:
        with open(arguments.svg, "w", encoding="utf-8") as out:
            out.write(drawing(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
