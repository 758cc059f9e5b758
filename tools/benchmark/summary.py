"""Medians, ranges and ratios of a run of tools/bench."""

from statistics import median

# Direction first, as the tables have them.
CPU = ("client_cpu_s_per_gb", "headend_cpu_s_per_gb")


class Figure:
    """A median of rounds with its range; falsy if no round had it."""

    def __init__(self, values):
        values = [one for one in values if one is not None]
        self.count = len(values)
        self.median, self.low, self.high = (median(values), min(values), max(values)) if values else (None, None, None)

    def __bool__(self):
        return self.count > 0

    def as_json(self):
        return {"median": rounded(self.median), "min": rounded(self.low), "max": rounded(self.high), "rounds": self.count}


def rounded(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


class Run:
    """The runs of bench.json, asked by contestant, figure and round."""

    def __init__(self, bench):
        self.bench = bench
        self.names = list(dict.fromkeys(one["contestant"] for one in bench["runs"]))
        self.rounds = sorted({one["round"] for one in bench["runs"]})
        self._values = {(one["contestant"], one["round"]): one["values"] for one in bench["runs"]}

    def value(self, name, figure, number):
        values = self._values.get((name, number), {})
        for end in ("up", "down"):
            if figure == f"tcp1_{end}_cpu_s_per_gb":  # both ends together
                parts = [values.get(f"tcp1_{end}_{one}") for one in CPU]
                return None if None in parts else sum(parts)
        return values.get(figure)

    def figure(self, name, figure):
        return Figure([self.value(name, figure, number) for number in self.rounds])

    def figures_of(self, name):
        return sorted({key for (one, _), values in self._values.items() if one == name for key in values})

    def ratio(self, name, others, figure, pick=max):
        """Of a contestant to another, or to the best of several, within each round."""
        others = [others] if isinstance(others, str) else others
        ratios = []
        for number in self.rounds:
            own = self.value(name, figure, number)
            theirs = [one for one in (self.value(other, figure, number) for other in others) if one]
            if own is not None and theirs:
                ratios.append(own / pick(theirs))
        return Figure(ratios)

    def trouble(self, name):
        """Why a contestant has no figures, or fewer than there were rounds; empty if all is well."""
        bad = [one for one in self.bench["runs"] if one["contestant"] == name and one["outcome"] != "measured"]
        if not bad:
            return ""
        if bad[0]["outcome"] == "missing":
            return f"missing: {bad[0]['reason']}"
        return f"failed in {len(bad)} of {len(self.rounds)} rounds: {bad[-1]['reason']}"

    def foreign_load(self):
        return Figure([one["foreign_load_percent"] for one in self.bench["runs"]])


def summarise(bench):
    run = Run(bench)
    summary = {}
    for name in run.names:
        one = {"trouble": run.trouble(name), "figures": {}, "ratios": {}}
        figures = run.figures_of(name) + [f"tcp1_{end}_cpu_s_per_gb" for end in ("up", "down")]
        for figure in figures:
            found = run.figure(name, figure)
            if found:
                one["figures"][figure] = found.as_json()
            for other in ("plain", "null", "openvpn"):
                ratio = run.ratio(name, other, figure) if other != name else None
                if ratio:
                    one["ratios"].setdefault(other, {})[figure] = ratio.as_json()
        summary[name] = one
    return {**{key: value for key, value in bench.items() if key != "runs"}, "summary": summary, "runs": bench["runs"]}
