#!/usr/bin/env python3
"""Writes the seed corpora of segment, coalesce, clamp_mss, esp_open and middlebox: well-formed packets for the fuzzer to bend."""
import ipaddress
import pathlib
import struct

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
TIMESTAMPS = bytes([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(protocol, l4, v6=False, ident=1, flags=0):
    if v6:
        source, destination = (ipaddress.ip_address(a).packed for a in ("fd00::1", "fd00::2"))
        return struct.pack("!IHBB", 6 << 28, len(l4), protocol, 64) + source + destination + l4
    source, destination = (ipaddress.ip_address(a).packed for a in ("10.0.0.1", "10.0.0.2"))
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(l4), ident, flags, 64, protocol, 0) + source + destination
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + l4


def transport(protocol, l4, at, v6):
    a, b = ("fd00::1", "fd00::2") if v6 else ("10.0.0.1", "10.0.0.2")
    pseudo = ipaddress.ip_address(a).packed + ipaddress.ip_address(b).packed + struct.pack("!IHBB", len(l4), 0, 0, protocol)
    return l4[:at] + struct.pack("!H", checksum(pseudo + l4) or 0xFFFF) + l4[at + 2:]


def tcp(payload, v6=False, seq=1000, flags=0x10, options=TIMESTAMPS, ident=1):
    l4 = struct.pack("!HHIIBBHHH", 1, 443, seq, 7, (5 + len(options) // 4) << 4, flags, 500, 0, 0) + options + payload
    return ip(6, transport(6, l4, 16, v6), v6, ident)


def udp(payload, v6=False, ident=1):
    l4 = struct.pack("!HHHH", 5000, 53, 8 + len(payload), 0) + payload
    return ip(17, transport(17, l4, 6, v6), v6, ident)


def virtio(gso_type, size, start, offset, flags=1):
    return struct.pack("<BBHHHH", flags, gso_type, 0, size, start, offset)


def batch(first, packets):
    return bytes([first]) + b"".join(struct.pack("!H", len(p)) + p for p in packets)


def esp(inner, next_header, sequence=1):
    pad = -(len(inner) + 2) % 4
    text = inner + bytes(range(1, pad + 1)) + bytes([pad, next_header])
    return struct.pack("!IIQ", 0x01020304, sequence & 0xFFFFFFFF, sequence) + text + bytes(16)


def write(target, **seeds):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


data = bytes(range(256)) * 2
fragment = ip(44, struct.pack("!BBHI", 17, 0, 1, 99) + data[:64], True)
hops = ip(0, bytes([17, 0, 1, 4, 0, 0, 0, 0]) + udp(data, True)[40:], True)
write("segment",
      tso4=virtio(1, 100, 20, 16) + tcp(data), tso6=virtio(4, 100, 40, 16) + tcp(data, True),
      tso4_ecn=virtio(0x81, 100, 20, 16) + tcp(data, flags=0xD9), uso4=virtio(5, 100, 20, 6) + udp(data),
      uso6=virtio(5, 100, 40, 6) + udp(data, True), uso6_extension=virtio(5, 100, 48, 6) + hops,
      plain=virtio(0, 0, 0, 0, 0) + tcp(b""), checksum=virtio(0, 0, 20, 6) + udp(b"abc"),
      fragment=virtio(0, 0, 0, 0, 0) + fragment, ufo=virtio(3, 100, 20, 6) + udp(data))
for version, six in (("4", False), ("6", True)):
    run = [tcp(data, six, 1000 + 512 * i, 0x18 if i == 3 else 0x10, ident=i) for i in range(4)]
    write("coalesce", **{
        "tcp" + version: batch(7, run), "udp" + version: batch(7, [udp(data, six, i) for i in range(3)] + [udp(b"x", six, 3)]),
        "mixed" + version: batch(7, [p for pair in zip(run, [udp(data, six, i) for i in range(4)]) for p in pair]),
        "ack" + version: batch(7, run[:2] + [tcp(b"", six, 2024)] + run[2:]), "off" + version: batch(0, run),
        "barrier" + version: batch(7, run[:1] + [fragment] + run[1:])})
mss = bytes([2, 4, 5, 180])
write("clamp_mss",
      syn4=b"\x05\x78" + tcp(b"", flags=2, options=mss), syn6=b"\x05\x78" + tcp(b"", True, flags=2, options=mss),
      syn_ack=b"\x05\x00" + tcp(b"", flags=0x12, options=mss + bytes([1, 3, 3, 7]) + TIMESTAMPS),
      odd=b"\x05\x78" + tcp(b"", flags=2, options=b"\1" + mss + b"\1\1\0"), none=b"\x05\x78" + tcp(b"", flags=2),
      small=b"\x00\x40" + tcp(b"", flags=2, options=mss), data=b"\x05\x78" + tcp(data))
inner = [esp(udp(data[:99]), 4, 1), esp(tcp(data, True), 41, 2), esp(b"probe", 59, 3), esp(b"", 59, 4)]
write("esp_open",
      authentic=batch(1, inner), authentic_esn=batch(3, inner), wrap=batch(7, [esp(udp(b""), 4, n)
                                                                               for n in (0x1FFFFFFF1, 0x200000005)]),
      twice=batch(1, inner[:1] * 3), padded=batch(1, [esp(udp(data) + bytes(100), 4)]), forged=batch(0, inner),
      wrong_family=batch(1, [esp(udp(data), 41)]), foreign=batch(1, [esp(udp(data)[:12] + bytes(4) + udp(data)[16:], 4)]))


def step(inward, flags, seq, ack, octets=0, options=0, window=60000):
    """A segment as fuzz_middlebox.cpp makes it; numbers from the ISNs on."""
    return struct.pack("!BBBHHHBH", 200, inward, flags, seq, ack, window, options, octets)


def elapse(milliseconds):
    return bytes([milliseconds.bit_length() - 1])


SYN, ACK, FIN, RST = 2, 16, 1, 4
opening = step(0, SYN, 0, 0, options=0xEF) + step(1, SYN | ACK, 0, 1, options=0xEF) + step(0, ACK, 1, 1, options=8)
gap = opening + step(0, ACK, 1001, 1, 1000, 8) + step(1, ACK, 1, 1, 0, 24) + step(0, ACK, 2001, 1, 1000, 8)
filled = gap + elapse(64) + step(0, ACK, 1, 1, 1000, 8) + step(1, ACK, 1, 3001, 200, 8) + step(0, ACK, 3001, 201, 0, 8)
ends = filled + step(0, ACK | FIN, 3001, 201) + step(1, ACK | FIN, 201, 3002) + step(1, RST, 202, 3002) + elapse(8192)
packet = tcp(data[:100])
for number, more in enumerate((0, 1, 2, 4, 8, 16, 31) * 4):
    write("middlebox", **{"device%02d" % number: bytes([number, more]) + filled + elapse(8192) * 3 + ends[len(filled):]
                          + bytes([65, len(packet)]) + packet + bytes([66, 40]) + udp(b"abcdefghijkl") + opening})


def icmp(quoted, six=False, kind=None):
    return bytes([0, int(six)]) + bytes([kind if kind is not None else (3 if six else 11), 0, 0, 0, 0, 0, 0, 0]) + quoted


spi = struct.pack("!II", 0x11223344, 9) + data[:40]
write("icmp_quote",
      udp4=icmp(udp(spi)), udp6=icmp(udp(spi, True), True), esp4=icmp(ip(50, spi)), esp6=icmp(ip(50, spi, True), True),
      tcp4=icmp(tcp(b"", flags=0x10, options=TIMESTAMPS)), tcp6=icmp(tcp(b"", True, flags=0x10, options=TIMESTAMPS), True),
      brief=icmp(udp(spi)[:28]), extended=icmp(ip(50, spi).ljust(128, b"\0") + bytes([0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0, 0, 0])),
      unreachable=icmp(udp(spi), kind=3), options=icmp(b"\x4f" + udp(spi)[1:]), fragment=icmp(fragment, True))
