#!/usr/bin/env python3
"""Turns offloads of an interface on or off, as `ethtool -K` does, which not every machine has.

usage: offloads.py INTERFACE FEATURE=on|off…      features: tx tso gso gro
Exit status 1 if one is not as asked for afterwards."""

import ctypes
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
# linux/ethtool.h: the commands that get and set each.
FEATURES = {"tx": (0x16, 0x17), "tso": (0x1E, 0x1F), "gso": (0x23, 0x24), "gro": (0x2B, 0x2C)}


def ask(control, interface, command, value=0):
    """One command; returns the value that the kernel leaves."""
    data = ctypes.create_string_buffer(struct.pack("II", command, value), 8)
    fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), ctypes.addressof(data)))
    return struct.unpack("II", data.raw)[1]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    wrong = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for feature, state in (argument.split("=") for argument in sys.argv[2:]):
            get, put = FEATURES[feature]
            ask(control, sys.argv[1], put, state == "on")
            if bool(ask(control, sys.argv[1], get)) != (state == "on"):
                wrong.append(feature)
    if wrong:
        sys.exit(f"{sys.argv[1]}: not as asked for: {' '.join(wrong)}")


main()
