#!/usr/bin/env python3
"""Says in sentences what switchback-middlebox has written to its log about the holes in TCP streams.

    device_words.py BOX_LOG SECONDS_BEFORE

SECONDS_BEFORE: how long the device had run before the time that the sentences count from. Nothing is printed where
there was no hole.
"""

import json
import sys

WHO = {"outward": ("the laptop", "the headend"), "inward": ("the headend", "the laptop")}


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    before = float(arguments[1])
    opened, asked, filled, dropped, ends = {}, {}, set(), {}, {}
    with open(arguments[0], encoding="utf-8") as log:
        for line in log:
            if not line.endswith("\n"):
                break
            entry = json.loads(line)
            way, what, octet = entry["direction"], entry["what"], entry["sequence"]
            if what == "gap_open":
                opened.setdefault(way, (entry["ms"] / 1000 - before, octet, entry["count"]))
                filled.discard(way)
            elif what == "gap_fill":
                filled.add(way)
                opened.pop(way, None)
                asked.pop(way, None)
            elif what == "dupack":
                at = asked.setdefault(way, {})
                at[octet] = at.get(octet, 0) + 1
            elif what == "drop" and entry["why"] == "queue full":
                dropped[way] = dropped.get(way, 0) + 1
            elif what in ("drop_queue", "kill"):
                ends.setdefault(way, entry["ms"] / 1000 - before)
    for way, (at, octet, missing) in sorted(opened.items(), key=lambda one: one[1][0]):
        sender, receiver = WHO[way]
        print(f"{at:6.1f} s  a packet from {sender} is lost; the device misses {missing} octets from number {octet} on")
        times = asked.get(way, {}).get(octet, 0)
        if times:
            print(f"          it asks {sender} for octet {octet}: {times} duplicate ACKs. Nobody answers")
        if dropped.get(way):
            print(f"          it keeps 3 packets that came after it and drops {dropped[way]}: {receiver} gets nothing more")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
