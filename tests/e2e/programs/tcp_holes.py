#!/usr/bin/env python3
"""What became of the holes in a TCP flow that was captured at both ends, and whether both ends kept to the rules.

    tcp_holes.py LEFT RIGHT AT_LEFT.tsv AT_RIGHT.tsv

LEFT and RIGHT are IP addresses. The files have a line for each segment, as tshark writes the fields COLUMNS (`tcp_holes.py
columns` prints them). Only the stream with most segments is looked at. For each direction a line of `name=value`:

    segments resent     sent with payload; of those, how many had octets that were sent before
    changed             octets that were sent again with another value: must be 0
    outside             segments that ended beyond what the peer's last ACK and window allowed: must be 0
    holes filled        gaps that the receiver saw; closed by what came later
    given_up            gaps that the receiver acknowledged past, and the shortest time after which it did (ms)
    open                neither, and older than a second at the end: must be 0
    ack_unseen          acknowledgements of octets that the receiver had never seen: must be 0
    fill_ms             median and longest time until a gap was filled
"""

import statistics
import sys

COLUMNS = ("frame.time_epoch ip.src ipv6.src tcp.stream tcp.seq_raw tcp.ack_raw tcp.len tcp.window_size_value "
           "tcp.flags.syn tcp.flags.ack tcp.flags.reset tcp.options.wscale.shift tcp.payload").split()


class Segment:
    """One line of a file; seq and ack become absolute 64-bit positions in Flow."""

    def __init__(self, line):
        cells = dict(zip(COLUMNS, line.rstrip("\n").split("\t")))
        number = lambda name: int(cells.get(name) or 0)
        flag = lambda name: cells.get(name, "0") in ("1", "True", "true")
        self.time = float(cells["frame.time_epoch"])
        self.source = cells["ip.src"] or cells["ipv6.src"]
        self.stream = number("tcp.stream")
        self.seq, self.ack = number("tcp.seq_raw"), number("tcp.ack_raw")
        self.length, self.window = number("tcp.len"), number("tcp.window_size_value")
        self.syn, self.has_ack, self.reset = flag("tcp.flags.syn"), flag("tcp.flags.ack"), flag("tcp.flags.reset")
        self.scale = number("tcp.options.wscale.shift")
        self.scaled = bool(cells.get("tcp.options.wscale.shift"))
        self.payload = bytes.fromhex(cells.get("tcp.payload", "").replace(":", ""))


def read(path):
    with open(path, encoding="ascii") as file:
        segments = [Segment(line) for line in file if line.strip()]
    streams = [segment.stream for segment in segments]
    main = max(set(streams), key=streams.count)
    return [segment for segment in segments if segment.stream == main]


def widen(segments):
    """Sequence and acknowledgement numbers relative to the SYN of their direction, beyond 32 bits where need be."""
    first, last = {}, {}
    for s in segments:
        if s.syn:
            first[s.source] = s.seq
    if len(first) != 2:
        sys.exit("the capture does not have both SYNs")
    other = dict(zip(first, reversed(list(first))))

    def near(source, value):
        relative = (value - first[source]) & 0xFFFFFFFF
        base = last.get(source, 0)
        while relative < base - 0x80000000:
            relative += 1 << 32
        last[source] = max(base, relative)
        return relative

    for s in segments:
        s.seq = near(s.source, s.seq)
        s.ack = near(other[s.source], s.ack) if s.has_ack else None


class Octets:
    """Which octets of a direction there are, as sorted disjoint intervals."""

    def __init__(self):
        self.ranges = []

    def missing(self, begin, end):
        """The parts of [begin, end) that are not there; none where end is not behind begin."""
        out, at = [], begin
        for low, high in self.ranges:
            if high <= at:
                continue
            if low >= end:
                break
            if low > at:
                out.append((at, low))
            at = max(at, high)
        if at < end:
            out.append((at, end))
        return out

    def add(self, begin, end):
        merged = []
        for low, high in self.ranges:
            if high < begin or low > end:
                merged.append((low, high))
            else:
                begin, end = min(begin, low), max(end, high)
        merged.append((begin, end))
        self.ranges = sorted(merged)


def sender_side(segments, sender):
    scale = {s.source: s.scale for s in segments if s.syn}
    if not all(s.scaled for s in segments if s.syn):
        scale = {source: 0 for source in scale}
    sent, stream, edge = 1, bytearray(1), None  # the SYN is position 0
    figures = dict(segments=0, resent=0, changed=0, outside=0)
    for s in segments:
        if s.source != sender:
            if s.has_ack and not s.reset:
                window = s.window << (0 if s.syn else scale[s.source])
                edge = max(edge or 0, s.ack + window)
            continue
        if not s.length:
            continue
        figures["segments"] += 1
        end = s.seq + s.length
        if s.seq < sent:
            figures["resent"] += 1
        if edge is not None and end > edge:
            figures["outside"] += 1
        if s.seq > len(stream):
            sys.exit(f"the capture at {sender} misses what was sent before {s.seq}")
        again = s.payload[: len(stream) - s.seq]
        figures["changed"] += sum(a != b for a, b in zip(again, stream[s.seq : s.seq + len(again)]))
        stream += s.payload[len(again) :]
        sent = max(sent, end)
    return figures


def receiver_side(segments, sender):
    there, holes, filled, top, acked, ended = Octets(), [], [], 1, 0, segments[-1].time
    figures = dict(holes=0, filled=0, given_up=0, given_up_after_ms=0, open=0, ack_unseen=0)
    patience = []
    there.add(0, 1)
    for s in segments:
        if s.source != sender:
            if not s.has_ack or s.reset:
                continue
            if s.ack > top + 1:  # + 1: a FIN counts
                figures["ack_unseen"] += 1
            acked = max(acked, s.ack)
            for hole in [h for h in holes if there.missing(h[0], min(h[1], acked))]:
                patience.append(s.time - hole[2])
                holes.remove(hole)
            continue
        if not s.length:
            continue
        end = s.seq + s.length
        if s.seq > top:
            holes.append((top, s.seq, s.time))
            figures["holes"] += 1
        there.add(s.seq, end)
        top = max(top, end)
        for hole in list(holes):
            if hole[0] < end and s.seq < hole[1] and not there.missing(hole[0], hole[1]):
                holes.remove(hole)
                filled.append(s.time - hole[2])
    figures["filled"] = len(filled)
    figures["given_up"] = len(patience)
    figures["given_up_after_ms"] = round(min(patience) * 1000) if patience else 0
    figures["open"] = sum(1 for hole in holes if ended - hole[2] > 1)
    figures["fill_ms"] = f"{round(statistics.median(filled) * 1000)}/{round(max(filled) * 1000)}" if filled else "-"
    return figures


def main(arguments):
    if arguments == ["columns"]:
        print("\n".join(COLUMNS))
        return 0
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    left, right = arguments[:2]
    captures = {left: read(arguments[2]), right: read(arguments[3])}
    for segments in captures.values():
        widen(segments)
    for sender, receiver in ((left, right), (right, left)):
        figures = sender_side(captures[sender], sender) | receiver_side(captures[receiver], sender)
        print(f"from={sender} " + " ".join(f"{name}={value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
