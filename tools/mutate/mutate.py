#!/usr/bin/env python3
"""Sends mutated copies of recorded UDP datagrams to where the originals went, with the originals' source addresses.

Reads a pcap file (Ethernet, as tcpdump writes it), keeps the UDP datagrams to or from the given ports, and sends COUNT
mutants of them from a raw socket, at a bounded rate. Needs CAP_NET_RAW and a place that may use the addresses of both
ends: a router between them. The same seed and recording give the same mutants.

    mutate.py --pcap session.pcap --ports 500,4500 --count 200000 --seed 1 [--rate 10000]
"""
import argparse
import collections
import ipaddress
import random
import socket
import struct
import sys
import time

Datagram = collections.namedtuple("Datagram", "source source_port destination destination_port payload")

ETHERTYPE_IPV4, ETHERTYPE_IPV6, UDP = 0x0800, 0x86DD, 17
LARGEST_PAYLOAD = 1472
# Values that lengths, counts and types like to break on.
NASTY_U8 = (0, 1, 3, 4, 7, 8, 0x0F, 0x10, 0x20, 0x7F, 0x80, 0xFE, 0xFF)
NASTY_U16 = (0, 1, 3, 4, 7, 8, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
NASTY_U32 = (0, 1, 27, 28, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def read_pcap(path):
    """Yields the frames of a classic pcap file."""
    with open(path, "rb") as file:
        header = file.read(24)
        order = {b"\xd4\xc3\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\x4d\x3c\xb2\xa1": "<"}.get(header[:4])
        if order is None or struct.unpack(order + "I", header[20:24])[0] & 0xFFFF != 1:
            sys.exit(f"{path}: not a pcap file of Ethernet frames")
        while record := file.read(16):
            length = struct.unpack(order + "IIII", record)[2]
            yield file.read(length)


def parse_udp(frame):
    """The UDP datagram in an Ethernet frame, or None. Datagrams in IP fragments are left out."""
    if len(frame) < 14:
        return None
    ethertype, packet = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if ethertype == ETHERTYPE_IPV4 and len(packet) >= 28 and packet[9] == UDP and not packet[6] & 0x3F and not packet[7]:
        addresses, udp = (packet[12:16], packet[16:20]), packet[(packet[0] & 15) * 4:]
    elif ethertype == ETHERTYPE_IPV6 and len(packet) >= 48 and packet[6] == UDP:
        addresses, udp = (packet[8:24], packet[24:40]), packet[40:]
    else:
        return None
    source_port, destination_port, length = struct.unpack("!HHH", udp[:6])
    source, destination = (ipaddress.ip_address(raw) for raw in addresses)
    return Datagram(source, source_port, destination, destination_port, udp[8:length])


def load(path, ports):
    """Distinct datagrams that have something to say: a 1-octet keepalive mutates into nothing of interest."""
    found = {}
    for frame in read_pcap(path):
        datagram = parse_udp(frame)
        if datagram and len(datagram.payload) > 1 and {datagram.source_port, datagram.destination_port} & ports:
            found.setdefault(datagram.payload, datagram)
    return list(found.values())


def is_ike(payload):
    """IKEv2 after an optional non-ESP marker (RFC 3948 §2.2): major version 2 in the header."""
    body = payload[4:] if payload[:4] == b"\0\0\0\0" else payload
    return len(body) >= 28 and body[17] == 0x20


def mutate(random_source, payload, others):
    """One mutant: between one and four changes, each of a kind drawn by chance. A few copies stay as they were."""
    data = bytearray(payload)
    if random_source.random() < 0.02:
        return bytes(data)
    # Headers are where parsers decide, so half of all places lie in the first 64 octets.
    for _ in range(random_source.choice((1, 1, 1, 2, 2, 3, 4))):
        limit = max(1, min(len(data), 64) if random_source.random() < 0.5 else len(data))
        at = random_source.randrange(limit)
        kind = random_source.randrange(10)
        if kind == 0 and data:
            data[at] ^= 1 << random_source.randrange(8)
        elif kind == 1 and data:
            data[at] = random_source.choice(NASTY_U8)
        elif kind == 2:
            data[at:at + 2] = struct.pack("!H", random_source.choice(NASTY_U16))
        elif kind == 3:
            data[at:at + 4] = struct.pack("!I", random_source.choice(NASTY_U32))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            data += random_source.randbytes(random_source.randrange(1, 256))
        elif kind == 6:
            del data[at:at + random_source.randrange(1, 32)]
        elif kind == 7:
            data[at:at] = data[at:at + random_source.randrange(1, 64)]
        elif kind == 8:
            other = random_source.choice(others).payload
            data[at:] = other[random_source.randrange(len(other)):]
        else:
            length = random_source.randrange(1, 16)
            data[at:at + length] = random_source.randbytes(length)
    return bytes(data[:LARGEST_PAYLOAD])


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(datagram, payload):
    """The IP packet; the kernel fills in the IPv4 header checksum."""
    udp = struct.pack("!HHHH", datagram.source_port, datagram.destination_port, 8 + len(payload), 0) + payload
    if datagram.source.version == 4:  # an IPv4 UDP checksum of zero means that there is none
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, UDP, 0)
        return header + datagram.source.packed + datagram.destination.packed + udp
    pseudo = datagram.source.packed + datagram.destination.packed + struct.pack("!IxxxB", len(udp), UDP)
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    return struct.pack("!IHBB", 0x60000000, len(udp), UDP, 64) + datagram.source.packed + datagram.destination.packed + udp


def open_sockets(datagrams):
    sockets = {}
    for version in {datagram.source.version for datagram in datagrams}:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        sockets[version] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if version == 6:
            sockets[version].setsockopt(socket.IPPROTO_IPV6, 36, 1)  # IPV6_HDRINCL
    return sockets


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pcap", required=True)
    parser.add_argument("--ports", required=True, help="the headend's ports, comma-separated")
    parser.add_argument("--count", type=int, default=200000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=10000, help="datagrams a second")
    arguments = parser.parse_args()

    ports = {int(port) for port in arguments.ports.split(",")}
    datagrams = load(arguments.pcap, ports)
    groups = [group for group in ([d for d in datagrams if is_ike(d.payload)],
                                  [d for d in datagrams if not is_ike(d.payload)]) if group]
    if len(groups) != 2:
        sys.exit(f"{arguments.pcap}: needs IKE and ESP datagrams to mutate, has {len(datagrams)} of one kind")

    random_source = random.Random(arguments.seed)
    sockets = open_sockets(datagrams)
    sent = collections.Counter()
    refused = 0
    start = time.monotonic()
    for number in range(arguments.count):
        group = random_source.choice(groups)  # there is far more ESP than IKE in a recording
        original = random_source.choice(group)
        packet = build(original, mutate(random_source, original.payload, datagrams))
        version = original.source.version
        target = (str(original.destination), 0) if version == 4 else (str(original.destination), 0, 0, 0)
        try:
            sockets[version].sendto(packet, target)
            sent[f"{'IKE' if group is groups[0] else 'ESP'} to {original.destination} port {original.destination_port}"] += 1
        except OSError:  # no buffers just now
            refused += 1
        if number % 64 == 63:
            ahead = number / arguments.rate - (time.monotonic() - start)
            if ahead > 0:
                time.sleep(ahead)
    for what, times in sorted(sent.items()):
        print(f"{times} mutants of {what}")
    print(f"seed {arguments.seed}: {sum(sent.values())} sent, {refused} refused by the kernel, "
          f"{len(datagrams)} originals, {time.monotonic() - start:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
