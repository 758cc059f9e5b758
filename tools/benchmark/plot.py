"""A run of tools/bench as one SVG: a panel for each figure, a bar for each contestant, a line for its range."""

from xml.sax.saxutils import escape

OURS = ("udp", "esp", "ctcp", "tcp", "tls")
COLOURS = {"plain": "#9aa0a6", "null": "#7fb7dc", "ours": "#2c7fb8", "other": "#f0a03c"}
# Title, figure, factor to the unit shown, decimals by size.
PANELS = (
    ("One TCP stream, client to headend, Mbit/s", "tcp1_up_mbit_per_s", 1),
    ("One TCP stream, headend to client, Mbit/s", "tcp1_down_mbit_per_s", 1),
    ("Four TCP streams, client to headend, Mbit/s", "tcp4_up_mbit_per_s", 1),
    ("UDP at 1400 octets, less than 1 % lost, Mbit/s", "udp_mbit_per_s", 1),
    ("Packets of 64 octets, thousands per second", "pps_packets_per_s", 1e-3),
    ("Processor time of both ends, s/GB, client to headend", "tcp1_up_cpu_s_per_gb", 1),
    ("Ping p99 under a full-rate stream, ms", "ping_loaded_p99_ms", 1),
    ("Time to connect, ms", "connect_ms", 1),
)
BAR, GAP, LEFT, WIDTH, TITLE = 14, 5, 100, 470, 26


def colour(name):
    if name.startswith("null"):
        return COLOURS["null"]
    return COLOURS["ours" if name in OURS else name if name in COLOURS else "other"]


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def panel(run, title, figure, factor, x, y):
    found = [(name, run.figure(name, figure)) for name in run.names]
    found = [(name, one) for name, one in found if one]
    if not found:
        return [], 0
    room = WIDTH - LEFT - 70
    scale = room / (max(one.high for _, one in found) or 1)
    parts = [f'<text x="{x}" y="{y + 14}" font-size="13" font-weight="600" fill="#1f2430">{escape(title)}</text>']
    for i, (name, one) in enumerate(found):
        top = y + TITLE + i * (BAR + GAP)
        middle = top + BAR / 2
        end = x + LEFT + one.median * scale
        parts.append(f'<text x="{x + LEFT - 6}" y="{middle + 4}" font-size="11" text-anchor="end" fill="#444">{escape(name)}</text>')
        parts.append(f'<rect x="{x + LEFT}" y="{top}" width="{max(1.0, one.median * scale):.1f}" height="{BAR}" fill="{colour(name)}"/>')
        if one.count > 1:
            low, high = x + LEFT + one.low * scale, x + LEFT + one.high * scale
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="#1f2430" stroke-width="1.2"/>')
            end = max(end, high)
        parts.append(f'<text x="{end + 5:.1f}" y="{middle + 4}" font-size="11" fill="#1f2430">{number(one.median * factor)}</text>')
    return parts, TITLE + len(found) * (BAR + GAP) + 18


def svg(run):
    machine, settings = run.bench["machine"], run.bench["settings"]
    about = (
        f"{machine['processors']} x {machine['cpu']}, Linux {machine['kernel']}, {settings['esp']}, offloads of the links {settings['offloads']}; "
        f"medians of {len(run.rounds)} rounds, lines are ranges"
    )
    parts, tops = [], [64, 64]
    for title, figure, factor in PANELS:
        column = 0 if tops[0] <= tops[1] else 1
        drawn, height = panel(run, title, figure, factor, 20 + column * (WIDTH + 10), tops[column])
        parts += drawn
        tops[column] += height
    width, height = 2 * WIDTH + 50, max(tops) + 6
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">',
            "<title>Switchback beside the bare path and other VPNs</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            '<text x="20" y="26" font-size="16" font-weight="600" fill="#1f2430">Switchback beside the bare path and other VPNs</text>',
            f'<text x="20" y="44" font-size="11" fill="#666">{escape(about)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
