#!/usr/bin/env python3
"""What became of a stream that stream.py sent both ways.

    figures.py CLIENT_FILE SERVER_FILE [--json] [--dead SECONDS]

Prints, for both directions together: sent and delivered, the longest silence of either direction, p50 and p99 of the time
on the way, and when the first of them died: its last datagram, where nothing came for SECONDS (2) until the end.
Datagrams of the last half second do not count as lost: they may be on their way.
"""

import bisect
import json
import sys


class Direction:
    """One way: when each datagram was sent, and when it arrived for the first time."""

    def __init__(self, sender, receiver):
        self.sent, self.received = {}, {}
        for line in sender:
            kind, number, *times = line.split()
            if kind == "s":
                self.sent[int(number)] = float(times[0])
        for line in receiver:
            kind, number, *times = line.split()
            if kind == "r" and int(number) in self.sent:
                self.received.setdefault(int(number), float(times[0]))

    def silences(self, end):
        """(from, length) of each pause between arrivals, the first sending and the end included. Where nobody sent there is
        nothing to hear: a pause begins with the first datagram that was sent after the last arrival."""
        if not self.sent:
            return []
        sent = sorted(self.sent.values())
        at = [sent[0], *sorted(self.received.values())]
        at.append(max(end, at[-1]))
        pauses = []
        for a, b in zip(at, at[1:]):
            following = bisect.bisect_right(sent, a)
            if following < len(sent) and sent[following] < b:
                pauses.append((sent[following], b - sent[following]))
        return pauses


def read(path):
    with open(path, encoding="ascii") as lines:
        # The last line may be half written if the program was killed.
        return [line for line in lines if line.endswith("\n")]


def directions(client_file, server_file):
    """Client to server, server to client."""
    client, server = read(client_file), read(server_file)
    return Direction(client, server), Direction(server, client)


def figures(client_file, server_file, dead_after=2.0):
    both = directions(client_file, server_file)
    starts = [min(d.sent.values()) for d in both if d.sent]
    ends = [max(d.sent.values()) for d in both if d.sent]
    if not starts:
        return {"sent": 0, "delivered": 0, "share": 0, "gap_ms": 0, "p50_ms": None, "p99_ms": None, "died_s": None}
    start, end = min(starts), max(ends)
    sent = delivered = 0
    gap, died, delays, shares = 0.0, None, [], []
    for one in both:
        counted = [n for n, at in one.sent.items() if n in one.received or at < end - 0.5]
        sent += len(counted)
        delivered += sum(n in one.received for n in counted)
        shares.append(sum(n in one.received for n in counted) / max(1, len(counted)))
        delays += [at - one.sent[n] for n, at in one.received.items()]
        for at, length in one.silences(end):
            gap = max(gap, length)
        last = max(one.received.values(), default=start)
        if end - last > dead_after:
            died = min(last, died if died is not None else last)
    if not both[1].sent:
        died = start  # nothing at all reached the server
    delays.sort()
    quantile = lambda q: round(delays[min(len(delays) - 1, int(q * len(delays)))] * 1000, 1) if delays else None
    return {
        "sent": sent,
        "delivered": delivered,
        "share": round(100 * delivered / max(1, sent), 2),
        "share_out": round(100 * shares[0], 2),
        "share_back": round(100 * shares[1], 2),
        "seconds": round(end - start, 1),
        "gap_ms": round(gap * 1000),
        "p50_ms": quantile(0.5),
        "p99_ms": quantile(0.99),
        "died_s": None if died is None else round(died - start, 1),
    }


def main(arguments):
    dead = 2.0
    if "--dead" in arguments:
        at = arguments.index("--dead")
        dead = float(arguments[at + 1])
        del arguments[at : at + 2]
    files = [one for one in arguments if not one.startswith("--")]
    if len(files) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    print(json.dumps(figures(*files, dead_after=dead)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
