#!/usr/bin/env python3
"""The result of one run of the story as a line of JSON, from its files, and the runs as a table or a plot.

    results.py run NAME TITLE CLIENT_FILE SERVER_FILE STATUS_JSON MOVES_FILE INNER_TCP
    results.py table RUNS_FILE
    results.py plot RUNS_FILE SVG_FILE

`run` prints the line; STATUS_JSON is the client's status at the end, MOVES_FILE is live.py's, INNER_TCP what became of the inner connection.
`table` prints tab-separated cells with headings. `plot` draws the packets delivered over time, one panel for each run.
"""

import json
import sys
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent))
import figures  # noqa: E402

BIN = 0.25


def bins(direction, start, end):
    """Packets that arrived in each quarter of a second, and those sent."""
    count = max(1, int((end - start) / BIN))
    arrived, sent = [0] * count, [0] * count
    for number, at in direction.sent.items():
        if 0 <= (at - start) / BIN < count:
            sent[int((at - start) / BIN)] += 1
    for number, at in direction.received.items():
        if 0 <= (at - start) / BIN < count:
            arrived[int((at - start) / BIN)] += 1
    return arrived, sent


def moves_of(path, start):
    """Each move while the stream ran, from the file that live.py writes: seconds since the start, and the client's words."""
    if not Path(path).exists():
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [{"at": round(max(0.0, float(at) - start), 1), "text": text} for at, text in (line.split(" ", 1) for line in lines)]


def run(name, title, client_file, server_file, status_file, moves_file, inner):
    result = {"name": name, "title": title, "inner": inner}
    result.update(figures.figures(client_file, server_file))
    out, back = figures.directions(client_file, server_file)
    start = min(d.sent[min(d.sent)] for d in (out, back) if d.sent)
    end = max(max(d.sent.values()) for d in (out, back) if d.sent)
    try:
        status = json.loads(Path(status_file).read_text(encoding="utf-8"))
    except ValueError:
        status = {}
    result["transport"] = status.get("transport", "-")
    result["moves"] = moves_of(moves_file, start)
    result["out"], result["sent"] = bins(out, start, end)
    result["back"] = bins(back, start, end)[0]
    print(json.dumps(result))


def outcome(one):
    if one["died_s"] is not None:
        return f"dead after {one['died_s']:.1f} s"
    if one["moves"]:
        return f"on {one['transport']} after {one['moves'][0]['at']:.1f} s"
    return "lives"


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def table(path):
    print("run\tdelivered\twhat became of it\tlongest silence\tmedian on the way\tinner TCP connection")
    for one in read(path):
        silence = f"{one['gap_ms'] / 1000:.1f} s" if one["died_s"] is not None else f"{one['gap_ms']} ms"
        median = f"{one['p50_ms']} ms"
        print("\t".join([one["title"], f"{one['share']:.1f} %", outcome(one), silence, median, one["inner"]]))


def step_path(values, x, y, width, scale):
    """An area under steps; values per bin, scale negative for downwards."""
    points = [f"M{x(0):.1f},{y:.1f}"]
    for i, value in enumerate(values):
        points.append(f"L{x(i):.1f},{y - value * scale:.1f}L{x(i) + width:.1f},{y - value * scale:.1f}")
    points.append(f"L{x(len(values)):.1f},{y:.1f}Z")
    return "".join(points)


def plot(path, svg):
    runs = read(path)
    left, width, panel, top = 20, 760, 86, 56
    longest = max(len(one["out"]) for one in runs)
    step = (width - 2 * left) / longest
    full = max(max(one["sent"]) for one in runs) or 1
    scale = 26 / full
    height = top + panel * len(runs) + 34
    x = lambda i: left + i * step
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">',
        "<title>Packets delivered over time, by run</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="16" font-weight="600" fill="#1f2430">Packets delivered through the tunnel, each quarter of a second</text>',
        f'<rect x="{left}" y="34" width="10" height="10" fill="#2c7fb8"/><text x="{left + 15}" y="43" font-size="12" fill="#444">laptop to server</text>',
        f'<rect x="{left + 130}" y="34" width="10" height="10" fill="#f0a03c"/><text x="{left + 145}" y="43" font-size="12" fill="#444">server to laptop</text>',
        f'<text x="{left + 260}" y="43" font-size="12" fill="#444">full height: everything that was sent</text>',
    ]
    for row, one in enumerate(runs):
        base = top + row * panel + 52
        parts.append(f'<text x="{left}" y="{base - 32}" font-size="13" font-weight="600" fill="#1f2430">{escape(one["title"])}</text>')
        dead = one["died_s"] is not None
        colour = "#b3261e" if dead else "#1b6e3c"
        says = f'{outcome(one)}, {one["share"]:.1f} % delivered'
        parts.append(f'<text x="{width - left}" y="{base - 32}" font-size="13" text-anchor="end" fill="{colour}">{escape(says)}</text>')
        parts.append(f'<rect x="{left}" y="{base - 26}" width="{len(one["out"]) * step:.1f}" height="52" fill="#f3f4f6"/>')
        parts.append(f'<path d="{step_path(one["out"], x, base, step, scale)}" fill="#2c7fb8"/>')
        parts.append(f'<path d="{step_path(one["back"], x, base, step, -scale)}" fill="#f0a03c"/>')
        parts.append(f'<line x1="{left}" x2="{x(len(one["out"])):.1f}" y1="{base}" y2="{base}" stroke="#fff"/>')
        marks = [(move["at"], f"moves to {one['transport']}") for move in one["moves"][:1]]
        if dead:
            marks.append((one["died_s"], "one direction is dead"))
        for at, text in marks:
            position = left + at / BIN * step
            anchor, shift = ("start", 4) if position < width * 0.7 else ("end", -4)
            parts.append(f'<line x1="{position:.1f}" x2="{position:.1f}" y1="{base - 26}" y2="{base + 26}" stroke="{colour}" stroke-dasharray="3 2"/>')
            parts.append(
                f'<text x="{position + shift:.1f}" y="{base - 14}" font-size="11" text-anchor="{anchor}" fill="{colour}" '
                f'stroke="#fff" stroke-width="3" paint-order="stroke">{escape(text)}</text>'
            )
    foot = top + panel * len(runs) + 8
    for second in range(int(longest * BIN) + 1):
        position = left + second / BIN * step
        parts.append(f'<text x="{position:.1f}" y="{foot}" font-size="11" text-anchor="middle" fill="#666">{second}</text>')
    parts.append(f'<text x="{width / 2}" y="{foot + 18}" font-size="12" text-anchor="middle" fill="#444">seconds since the tunnel was up</text>')
    parts.append("</svg>")
    Path(svg).write_text("\n".join(parts) + "\n", encoding="utf-8")


def main(arguments):
    commands = {"run": (run, 7), "table": (table, 1), "plot": (plot, 2)}
    command, count = commands.get(arguments[0] if arguments else "", (None, 0))
    if command is None or len(arguments) != count + 1:
        print(__doc__, file=sys.stderr)
        return 2
    command(*arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
