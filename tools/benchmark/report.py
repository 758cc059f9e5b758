#!/usr/bin/env python3
"""The result of tools/bench as JSON, tables or a plot.

    report.py summarise RUNS_JSON OUT_JSON     adds medians, ranges and ratios
    report.py plot BENCH_JSON SVG
    report.py heading|throughput|cpu|latency|ratios|goals BENCH_JSON

The last prints a heading, or a table as tab-separated cells with headings in the first line.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import plot as plots  # noqa: E402
from goals import goals  # noqa: E402
from summary import Run, summarise  # noqa: E402


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(figure, scale=1.0):
    """Median and, if there was more than one round, range."""
    if not figure:
        return "-"
    text = number(figure.median * scale)
    return text if figure.count == 1 else f"{text} ({number(figure.low * scale)}-{number(figure.high * scale)})"


def rows(run, columns):
    """A line for each contestant; columns are (heading, function of a name)."""
    yield ["", *(heading for heading, _ in columns)]
    for name in run.names:
        cells = [make(name) for _, make in columns]
        if set(cells) != {"-"}:
            yield [name, *cells]


def of(run, figure, scale=1.0):
    return lambda name: cell(run.figure(name, figure), scale)


def heading(run):
    bench, machine = run.bench, run.bench["machine"]
    settings = bench["settings"]
    load = run.foreign_load()
    yield f"{machine['processors']} x {machine['cpu']}, Linux {machine['kernel']}; commit {bench['commit'] or 'unknown'}; {bench['date']}"
    yield (
        f"{'Medians of ' + str(len(run.rounds)) + ' rounds (range)' if len(run.rounds) > 1 else 'One round'}, TCP runs of {settings['seconds']} s; ESP {settings['esp']}; offloads of the links: {settings['offloads']}; "
        f"foreign load found before each visit: median {load.median:.0f} %, most {load.high:.0f} % of the machine"
    )
    if load.median > 10 or load.high > 40:
        yield "THE MACHINE WAS BUSY WITH OTHER THINGS: trust the ratios more than the figures, and neither much."
    if settings["rounds"] < 5:
        yield "FEWER THAN FIVE ROUNDS: good for seeing that everything works, not for conclusions."
    for name in run.names:
        trouble = run.trouble(name)
        if trouble:
            yield f"{name} {trouble}"


def throughput(run):
    columns = [(f"TCP{streams} {end} Mbit/s", of(run, f"tcp{streams}_{end}_mbit_per_s")) for streams in (1, 4) for end in ("up", "down")]
    columns.append(("UDP 1400 B Mbit/s", of(run, "udp_mbit_per_s")))
    columns.append(("64 B k packets/s", of(run, "pps_packets_per_s", 1e-3)))
    return rows(run, columns)


def cpu(run):
    columns = [
        (f"{who} CPU s/GB {end}", of(run, f"tcp1_{end}_{key}"))
        for end in ("up", "down")
        for who, key in (("client", "client_cpu_s_per_gb"), ("headend", "headend_cpu_s_per_gb"), ("both", "cpu_s_per_gb"))
    ]
    return rows(run, columns)


def latency(run):
    columns = [
        (f"ping {what} {quantile} us", of(run, f"ping_{what}_{quantile}_ms", 1e3)) for what in ("idle", "loaded") for quantile in ("p50", "p99")
    ]
    columns.append(("connect ms", of(run, "connect_ms")))
    return rows(run, columns)


def ratios(run):
    def to(other, figure):
        return lambda name: cell(run.ratio(name, other, figure)) if name != other else "1"

    columns = [(f"TCP1 {end} / {other}", to(other, f"tcp1_{end}_mbit_per_s")) for end in ("up", "down") for other in ("plain", "null", "openvpn")]
    columns.append(("CPU up / openvpn", to("openvpn", "tcp1_up_cpu_s_per_gb")))
    columns.append(("CPU down / openvpn", to("openvpn", "tcp1_down_cpu_s_per_gb")))
    present = [(title, make) for title, make in columns if any(make(name) not in ("-", "1") for name in run.names)]
    return rows(run, present)


def goal_rows(run):
    yield ["goal", "wanted", "found (range)", "met?"]
    for goal in goals(run):
        yield goal.row()


TABLES = {"throughput": throughput, "cpu": cpu, "latency": latency, "ratios": ratios, "goals": goal_rows}


def main(arguments):
    if len(arguments) < 2 or (arguments[0] in ("summarise", "plot")) != (len(arguments) == 3):
        print(__doc__, file=sys.stderr)
        return 2
    command, path, *rest = arguments
    bench = json.loads(Path(path).read_text(encoding="utf-8"))
    if command == "summarise":
        Path(rest[0]).write_text(json.dumps(summarise(bench), indent=1) + "\n", encoding="utf-8")
    elif command == "plot":
        Path(rest[0]).write_text(plots.svg(Run(bench)), encoding="utf-8")
    elif command == "heading":
        print("\n".join(heading(Run(bench))))
    elif command in TABLES:
        for row in TABLES[command](Run(bench)):
            print("\t".join(row))
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
