#!/usr/bin/env python3
"""Shows what a stream of stream.py does while it runs: a sign for each quarter of a second, of the worse direction.

    live.py CLIENT_FILE SERVER_FILE SECONDS [CLIENT_LOG MOVES_FILE]

█ nearly everything arrived, ▒ some of it, · nothing. Ends after SECONDS. MOVES_FILE gets a line `TIME TEXT` for each move
that appears in the client's log meanwhile, in seconds of the monotonic clock, to a twentieth of a second.
"""

import sys
import time

QUARTER = 0.25
PATIENCE = 0.35  # what is later than this counts as lost here


class Tail:
    """The complete lines of a file that grows."""

    def __init__(self, path):
        self.file, self.rest = open(path, encoding="utf-8"), ""

    def lines(self):
        *whole, self.rest = (self.rest + self.file.read()).split("\n")
        return whole


def main(arguments):
    if len(arguments) not in (3, 5):
        print(__doc__, file=sys.stderr)
        return 2
    tails = [Tail(path) for path in arguments[:2]]
    sent, received = [{}, {}], [set(), set()]
    log = Tail(arguments[3]) if len(arguments) == 5 else None
    began = time.monotonic()
    quarters = int(float(arguments[2]) / QUARTER)
    for quarter in range(quarters):
        until = began + (quarter + 1) * QUARTER
        while time.monotonic() < until + PATIENCE:
            time.sleep(max(0.0, min(0.05, until + PATIENCE - time.monotonic())))
            for line in log.lines() if log else ():
                if line.startswith("moved from "):
                    with open(arguments[4], "a", encoding="utf-8") as moves:
                        moves.write(f"{time.monotonic():.2f} {line}\n")
        for end, tail in enumerate(tails):
            for line in tail.lines():
                kind, number, *times = line.split()
                if kind == "s":
                    sent[end][int(number)] = float(times[0])
                else:
                    received[1 - end].add(int(number))
        worst = 1.0
        for way in (0, 1):
            due = [n for n, at in sent[way].items() if until - QUARTER <= at < until]
            if way == 1 and not sent[1]:
                worst = 0.0  # the server has not heard anything yet
            if due:
                worst = min(worst, sum(n in received[way] for n in due) / len(due))
        sys.stdout.write("█" if worst > 0.75 else "▒" if worst > 0 else "·")
        sys.stdout.flush()
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
