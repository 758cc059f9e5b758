#!/usr/bin/env python3
"""TCP segments with any source, as somebody off the path can send them: it knows addresses and ports, and guesses numbers.

    tcp_segments.py SOURCE PORT DESTINATION PORT COUNT [KIND…]

SOURCE may be a prefix, of which each segment has an address at random. KIND: rst rstack fin syn data ack, all of them in
turn if none is given. Where PORT of the source is 0, source ports are random. Sequence and acknowledgement numbers are random, but the same in each run. IPv4 and IPv6.
"""

import ipaddress
import random
import socket
import struct
import sys

FLAGS = {"rst": 0x04, "rstack": 0x14, "fin": 0x11, "syn": 0x02, "data": 0x18, "ack": 0x10}


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source, source_port, destination, port, kind, chance):
    payload = chance.randbytes(200) if kind == "data" else b""
    tcp = struct.pack("!HHIIBBHHH", source_port, port, chance.getrandbits(32), 0 if kind == "syn" else chance.getrandbits(32), 0x50,
                      FLAGS[kind], 0xFFFF, 0, 0) + payload
    pseudo = source.packed + destination.packed
    if source.version == 4:
        total = checksum(pseudo + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)
    else:
        total = checksum(pseudo + struct.pack("!II", len(tcp), 6) + tcp)
    tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]
    if source.version == 4:  # the kernel fills in length, identification and checksum
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + pseudo + tcp
    return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + pseudo + tcp


def main(arguments):
    if len(arguments) < 5 or not set(arguments[5:]) <= set(FLAGS):
        print(__doc__, file=sys.stderr)
        return 2
    sources, destination = ipaddress.ip_network(arguments[0]), ipaddress.ip_address(arguments[2])
    source_port, port, count = int(arguments[1]), int(arguments[3]), int(arguments[4])
    kinds = arguments[5:] or list(FLAGS)
    family = socket.AF_INET if sources.version == 4 else socket.AF_INET6
    chance = random.Random(7)
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for index in range(count):
            source = sources[chance.randrange(sources.num_addresses)]
            data = segment(source, source_port or chance.randrange(1024, 65536), destination, port, kinds[index % len(kinds)], chance)
            raw.sendto(data, (str(destination), 0))
    print(f"{count} segments sent: {', '.join(kinds)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
