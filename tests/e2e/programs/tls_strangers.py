#!/usr/bin/env python3
"""Strangers at a TLS port, all at once: connections that say nothing or send half a ClientHello, random octets, plain
HTTP, an SSH banner, TLS with random octets or an endless header inside, TLS with the prefix of RFC 9329 and nonsense
behind it.

    tls_strangers.py HOST PORT SECONDS IDLE

Prints `done: …` with counts. Exit status 1 where not a single connection came about.
"""

import random
import socket
import ssl
import sys
import time


def hello():
    """A ClientHello as OpenSSL makes it."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="vpn.example.org")
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def tls(address):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(address, timeout=5))


def main(arguments):
    if len(arguments) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    address, seconds, idle = (arguments[0], int(arguments[1])), float(arguments[2]), int(arguments[3])
    chance = random.Random(1)
    noise = lambda: chance.randbytes(chance.randrange(1, 4000))
    first = hello()
    silent, said, inside, failed = [], 0, 0, 0
    for index in range(idle):
        try:
            connection = socket.create_connection(address, timeout=5)
            if index % 2:
                connection.sendall(first[: chance.randrange(1, len(first))])
            silent.append(connection)
        except OSError:
            failed += 1
    ends = time.monotonic() + seconds
    plain = (noise, lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", lambda: b"SSH-2.0-OpenSSH_9.2\r\n", lambda: b"IKETCP" + noise(),
             lambda: first[:60] + noise())
    within = (noise, lambda: b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100000, lambda: b"IKETCP" + noise(),
              lambda: b"IKETCP\xff\xff" + noise(), lambda: b"IKETCP\x00\x00", lambda: b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n")
    while time.monotonic() < ends:
        try:
            with socket.create_connection(address, timeout=5) as connection:
                connection.sendall(chance.choice(plain)())
                said += 1
            with tls(address) as connection:
                connection.sendall(chance.choice(within)())
                inside += 1
        except OSError:  # ssl.SSLError is one
            failed += 1
    print(f"done: {len(silent)} silent connections, {said} spoke no TLS, {inside} nonsense inside TLS, {failed} refused or cut", flush=True)
    time.sleep(1)  # the silent ones stay while the script looks
    return 0 if said else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
