#!/usr/bin/env python3
"""A steady stream of numbered UDP datagrams in both directions, and what became of each: the measure of the story.

    stream.py listen PORT FILE [RATE [OCTETS]]
    stream.py send HOST PORT FILE [RATE [OCTETS]]

The sender sends RATE datagrams per second (100) of OCTETS (200); the listener sends as many to whoever it heard from
last, for as long as it hears from somebody or for 60 s. Neither waits for the other, so each direction can die by
itself. Both write to FILE, a line for each: `s NUMBER TIME` when sent, `r NUMBER TIME SENT` when received, times in
seconds of the system's monotonic clock, which all network namespaces share. A datagram's arrival is when the kernel had
it, not when this program, which may have had to wait for a busy machine, came to look. They end on SIGTERM.
"""

import select
import signal
import socket
import struct
import sys
import time

HEAD = struct.Struct("!Qd")
SO_TIMESTAMPNS = 35  # not among the socket module's constants
TIMESTAMP = struct.Struct("@qq")
SO_RCVBUFFORCE = 33
stopping = []


def arrival(ancillary):
    """When the kernel received it, by the monotonic clock."""
    now = time.monotonic()
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESTAMP.unpack_from(data)
            return now - max(0.0, time.time() - seconds - nanoseconds / 1e9)
    return now


def exchange(connection, peer, out, rate, octets):
    """Sends and receives until SIGTERM. A listener has no peer yet."""
    number, due, heard, written, lines = 0, time.monotonic(), time.monotonic(), time.monotonic(), []
    answering = peer is None
    padding = bytes(max(0, octets - HEAD.size))
    while not stopping:
        now = time.monotonic()
        if now - written > 0.1:  # others look on
            out.writelines(lines)
            out.flush()
            written, lines = now, []
        if peer is not None and now >= due:
            try:
                connection.sendto(HEAD.pack(number, now) + padding, peer)
            except OSError:
                pass  # no route for a moment, or a full queue: it counts as sent, for the user tried
            lines.append(f"s {number} {now:.6f}\n")
            number += 1
            due = max(due + 1 / rate, now - 0.2)
            if answering and now - heard > 60:
                peer = None
        wait = 0.05 if peer is None else max(0.0, min(0.05, due - time.monotonic()))
        if not select.select([connection], [], [], wait)[0]:
            continue
        for _ in range(64):
            try:
                data, ancillary, _, source = connection.recvmsg(65536, 64)
            except OSError:
                break
            if len(data) < HEAD.size:
                continue
            got, sent = HEAD.unpack_from(data)
            heard = arrival(ancillary)
            lines.append(f"r {got} {heard:.6f} {sent:.6f}\n")
            if answering:
                if peer is None:
                    due = heard
                peer = source
    out.writelines(lines)


def main(arguments):
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stopping.append(True))
    listens = arguments[:1] == ["listen"]
    if not listens and arguments[:1] != ["send"] or len(arguments) < (3 if listens else 4):
        print(__doc__, file=sys.stderr)
        return 2
    *where, path = arguments[1:3] if listens else arguments[1:4]
    rest = arguments[3:] if listens else arguments[4:]
    rate, octets = int(rest[0]) if rest else 100, int(rest[1]) if len(rest) > 1 else 200
    connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    peer = None
    if listens:
        connection.bind(("0.0.0.0", int(where[0])))
    else:
        peer = (where[0], int(where[1]))
    with open(path, "w", encoding="ascii") as out:
        print("ready", flush=True)
        exchange(connection, peer, out, rate, octets)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
