#!/usr/bin/env python3
"""One TCP connection with a numbered line every few milliseconds, echoed: shows whether a connection lives, and how long
it was silent.

    line_stream.py serve PORT
    line_stream.py send HOST PORT [INTERVAL_MS]

The server checks that the numbers have no hole and sends each line back; the sender checks the echoes. On SIGUSR1 either
prints `mark lines N gap MS`: lines seen, and the longest silence since the last mark, the present one included. On
SIGTERM the sender stops, waits for the last echo, and prints `end sent N echoed M gap MS`. Exit status 1 where a line is
missing, out of order, or the connection broke.
"""

import select
import signal
import socket
import sys
import time

wanted = {"mark": False, "stop": False}


class Lines:
    """What has arrived: the next number, and the longest silence."""

    def __init__(self):
        self.expected = 0
        self.rest = b""
        self.last = time.monotonic()
        self.gap = 0.0

    def take(self, data):
        """Checks the lines in data; raises ValueError where a number is not the next."""
        self.rest += data
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            if int(line) != self.expected:
                raise ValueError(f"line {int(line)} came where {self.expected} was due")
            self.expected += 1
        now = time.monotonic()
        self.gap = max(self.gap, now - self.last)
        self.last = now

    def mark(self):
        gap = max(self.gap, time.monotonic() - self.last)
        self.gap = 0.0
        return f"lines {self.expected} gap {round(gap * 1000)}"


def show(text):
    print(text, flush=True)


def marks(lines):
    if wanted["mark"]:
        wanted["mark"] = False
        show("mark " + lines.mark())


def serve(port):
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen()
    show("listening")
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = Lines()
        show("connected")
        try:
            while True:
                marks(lines)
                if not select.select([connection], [], [], 0.05)[0]:
                    continue
                data = connection.recv(65536)
                if not data:
                    break
                lines.take(data)
                connection.sendall(data)
            show("end " + lines.mark())
        except (OSError, ValueError) as error:
            show(f"broken after {lines.expected} lines: {error}")
        connection.close()


def send(host, port, interval):
    connection = socket.create_connection((host, port), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = Lines()
    show("connected")
    sent, due, stopped = 0, time.monotonic(), None
    while True:
        marks(lines)
        now = time.monotonic()
        if wanted["stop"] and stopped is None:
            stopped = now
        if stopped is not None and (lines.expected == sent or now - stopped > 20):
            break
        if stopped is None and now >= due:
            connection.sendall(b"%d\n" % sent)
            sent += 1
            due = max(due + interval, now - 1)  # after a pause of this process: catch up with a second at most
        wait = 0.05 if stopped is not None else max(0.0, min(0.05, due - time.monotonic()))
        if select.select([connection], [], [], wait)[0]:
            data = connection.recv(65536)
            if not data:
                raise OSError("the other end closed the connection")
            lines.take(data)
    show(f"end sent {sent} echoed {lines.expected} {lines.mark().split(' ', 2)[2]}")
    return 0 if lines.expected == sent else 1


def main(arguments):
    signal.signal(signal.SIGUSR1, lambda *_: wanted.update(mark=True))
    if arguments[:1] == ["serve"] and len(arguments) == 2:
        serve(int(arguments[1]))
    if arguments[:1] == ["send"] and len(arguments) in (3, 4):
        signal.signal(signal.SIGTERM, lambda *_: wanted.update(stop=True))
        try:
            return send(arguments[1], int(arguments[2]), int((arguments[3:] or ["10"])[0]) / 1000)
        except (OSError, ValueError) as error:
            show(f"broken: {error}")
            return 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
