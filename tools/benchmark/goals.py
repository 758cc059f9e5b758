"""The project's goals for speed, each held against a run of tools/bench."""

from summary import Figure

PEERS = ("openvpn", "libipsec", "wireguard-go")
OCSERV = ("ocserv-tls", "ocserv-dtls")
OURS = ("udp", "esp", "ctcp", "tcp", "tls")
ENDS = {"up": "client to headend", "down": "headend to client"}


class Goal:
    """What is wanted, what was found, and whether that is enough. `found` is a Figure of rounds."""

    def __init__(self, text, wanted, found, met, absent=()):
        self.text, self.wanted, self.found, self.absent = text, wanted, found, absent
        self.met = None if not found else met(found.median)

    def row(self):
        if self.met is None:
            return [self.text, self.wanted, "-", "not measured" + (f": no figures of {', '.join(self.absent)}" if self.absent else "")]
        found = f"{self.found.median:.3g}"
        if self.found.count > 1:
            found += f" ({self.found.low:.3g}-{self.found.high:.3g})"
        verdict = "met" if self.met else "NOT met"
        return [self.text, self.wanted, found, verdict + (f" (without {', '.join(self.absent)})" if self.absent else "")]


def absent(run, figure, *names):
    return [one for one in names if not run.figure(one, figure)]


def at_least(run, text, name, others, figure, factor):
    others = [others] if isinstance(others, str) else list(others)
    return Goal(text, f">= {factor:g}", run.ratio(name, others, figure), lambda m: m >= factor, absent(run, figure, name, *others))


def throughput(run):
    for end, way in ENDS.items():
        figure = f"tcp1_{end}_mbit_per_s"
        yield at_least(run, f"udp / null, one TCP stream {way}", "udp", "null", figure, 0.65)
        yield at_least(run, f"udp / best of {', '.join(PEERS)}, {way}", "udp", PEERS, figure, 9)
        cpu = f"tcp1_{end}_cpu_s_per_gb"
        yield Goal(f"udp / openvpn, CPU s/GB of both ends, {way}", "<= 0.1", run.ratio("udp", "openvpn", cpu), lambda m: m <= 0.1, absent(run, cpu, "udp", "openvpn"))
        yield at_least(run, f"ctcp / udp, {way}", "ctcp", "udp", figure, 0.9)
        yield at_least(run, f"esp / udp, {way}", "esp", "udp", figure, 0.25)
        for name in ("tcp", "tls"):
            yield at_least(run, f"{name} / better of {' and '.join(OCSERV)}, {way}", name, OCSERV, figure, 3)


def without_offloads(run):
    for end, way in ENDS.items():
        yield at_least(run, f"udp / openvpn, one TCP stream {way}", "udp", "openvpn", f"tcp1_{end}_mbit_per_s", 2.5)
        yield at_least(run, f"udp / openvpn, four TCP streams {way}", "udp", "openvpn", f"tcp4_{end}_mbit_per_s", 1)
        cpu = f"tcp1_{end}_cpu_s_per_gb"
        yield Goal(f"udp / openvpn, CPU s/GB, {way}", "<= 1", run.ratio("udp", "openvpn", cpu), lambda m: m <= 1, absent(run, cpu, "udp", "openvpn"))
    yield at_least(run, "udp / openvpn, UDP", "udp", "openvpn", "udp_mbit_per_s", 1)
    yield at_least(run, "udp / openvpn, small packets", "udp", "openvpn", "pps_packets_per_s", 1)
    for figure, what in (("ping_idle_p99_ms", "idle"), ("ping_loaded_p99_ms", "under load")):
        yield Goal(f"udp / openvpn, ping p99 {what}", "<= 1", run.ratio("udp", "openvpn", figure), lambda m: m <= 1, absent(run, figure, "udp", "openvpn"))


def latency(run):
    for name in OURS:
        if name not in run.names:
            continue
        figure = "ping_idle_p99_ms"
        excess = []
        for number in run.rounds:
            own, plain = run.value(name, figure, number), run.value("plain", figure, number)
            if own is not None and plain is not None:
                excess.append(own / (2 * plain + 0.1))
        yield Goal(f"{name}, ping p99 idle / (2 plain + 100 us)", "<= 1", Figure(excess), lambda m: m <= 1, absent(run, figure, name, "plain"))
        figure = "ping_loaded_p99_ms"
        yield Goal(f"{name}, ping p99 under a full-rate stream, ms", "<= 5", run.figure(name, figure), lambda m: m <= 5, absent(run, figure, name))


def goals(run):
    found = list(throughput(run)) if run.bench["settings"]["offloads"] == "on" else list(without_offloads(run))
    return found + list(latency(run))
