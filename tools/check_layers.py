#!/usr/bin/env python3
"""Checks that includes obey the layers. Run by the build and by ctest; prints each offence as FILE:LINE: what is wrong.

    base <- packet, crypto, toml <- ike, esp, path, profile <- transports <- client | headend | tools
    io and keylog sit beside them: the shells use them, no core includes them. toml is below profile. Client and headend never include each other.
"""
import argparse
import pathlib
import re
import sys

# Folder -> folders whose headers it may include, beside its own. The longest matching folder counts.
BASE = {"common/base"}
BELOW_CORES = BASE | {"common/packet", "common/crypto"}
CORES = {"common/ike", "common/esp", "common/path", "common/profile", "common/toml"}
SHELL = BELOW_CORES | CORES | {"common/io", "common/keylog", "common/toml", "transports"}
ALLOWED = {
    "common/base": set(),
    "common/packet": BASE,
    "common/crypto": BASE,
    "common/ike": BELOW_CORES,
    "common/esp": BELOW_CORES,
    "common/path": BELOW_CORES | {"common/esp"},
    "common/profile": BASE | {"common/toml"},
    "common/toml": BASE,
    "common/io": BASE | {"common/packet"},
    "common/keylog": BELOW_CORES | {"common/ike"},
    "transports": SHELL,
    "client": SHELL,
    "headend": SHELL,
    "tools": SHELL,
    "tools/firewall": SHELL | {"headend"},  # reads headend.toml
    "tests": SHELL | {"client", "headend", "tools", "tools/firewall"},
}

# Library header -> the only folders or files that include it, and why.
LIBRARIES = [
    # TLS as a whole is a protocol of its own: the tls transport takes it from OpenSSL, and nothing else from there.
    (re.compile(r"^(openssl/|sodium|intel-ipsec-mb|ipsec-mb)"), ("common/crypto/", "common/base/secret.cpp", "transports/tls/", "tests/"),
     "cryptographic libraries stay behind common/crypto"),
    (re.compile(r"^(catch2/|benchmark/)"), ("tests/", "tools/"), "test frameworks stay in tests"),
    (re.compile(r"^(SQLiteCpp/|sqlite3)"), ("headend/", "tests/"), "only the headend has a database"),
    (re.compile(r"^toml\+\+/"), ("common/toml/",), "every TOML file is read by common/toml"),
    (re.compile(r"^nftables/"), ("headend/", "tests/"), "only the headend has a firewall"),
    (re.compile(r"^netlink/"), ("common/io/", "client/", "headend/"), "netlink is input and output"),
]

# A core has no sockets, clocks, threads or logs of its own.
PURE = ("common/packet/", "common/crypto/", "common/ike/", "common/esp/", "common/path/")
IMPURE = re.compile(r"^(sys/(socket|epoll|ioctl|timerfd|eventfd)|netinet/|arpa/|unistd|fcntl|poll|thread|asio|spdlog/|iostream"
                    r"|fstream|time\.h|ctime)")

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def layer_of(path):
    """The longest folder of ALLOWED that holds the path, or None."""
    found = [folder for folder in ALLOWED if path == folder or path.startswith(folder + "/")]
    return max(found, key=len, default=None)


def check_include(file, kind, name):
    """Yields what is wrong with one include directive of a file (both root-relative)."""
    own = layer_of(file)
    target = layer_of(name)
    if kind == '"' and target is None:
        yield f'"{name}" is not root-relative, or its folder is not in {pathlib.Path(__file__).name}'
    if target is not None and own is not None and target != own and target not in ALLOWED[own]:
        yield f"{own} may not include {target} ({name})"
    if kind == "<":
        for pattern, homes, reason in LIBRARIES:
            if pattern.match(name) and not file.startswith(homes):
                yield f"<{name}> is not for this file: {reason}"
        if file.startswith(PURE) and IMPURE.match(name):
            yield f"<{name}> is not for a core, which has no I/O, clock or thread of its own"


def check_file(root, path):
    text = (root / path).read_text(encoding="utf-8")
    if path.endswith(".h") and "#pragma once" not in text:
        yield 1, "a header without #pragma once"
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            for offence in check_include(path, *match.groups()):
                yield number, offence


def self_test():
    """The checker finds what it must find, and nothing in what is right."""
    wrong = [
        ("common/base/bytes.h", '"', "common/packet/packet.h"),
        ("common/ike/session.cpp", '"', "common/io/sockets.h"),
        ("common/esp/codec.cpp", '"', "common/ike/keys.h"),
        ("client/connect.cpp", '"', "headend/config.h"),
        ("common/ike/keys.cpp", "<", "openssl/evp.h"),
        ("common/ike/session.cpp", "<", "sys/socket.h"),
        ("common/ike/session.cpp", '"', "session.h"),
        ("headend/config.cpp", "<", "toml++/toml.h"),
    ]
    right = [
        ("common/ike/keys.cpp", '"', "common/crypto/prf.h"),
        ("common/base/secret.cpp", "<", "sodium.h"),
        ("headend/main.cpp", '"', "transports/udp/driver.h"),
        ("transports/udp/driver.cpp", "<", "sys/socket.h"),
    ]
    return all(any(check_include(*case)) for case in wrong) and not any(o for case in right for o in check_include(*case))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--stamp", type=pathlib.Path, help="file to touch when all is well, for the build")
    arguments = parser.parse_args()
    if not self_test():
        print("check_layers.py: the checker does not find what it must find", file=sys.stderr)
        return 1
    offences = files = 0
    for folder in ("common", "transports", "client", "headend", "tools", "tests"):
        for file in sorted((arguments.root / folder).rglob("*")):
            if file.suffix in (".h", ".cpp"):
                files += 1
                path = file.relative_to(arguments.root).as_posix()
                for number, offence in check_file(arguments.root, path):
                    offences += 1
                    print(f"{path}:{number}: {offence}", file=sys.stderr)
    if not offences and arguments.stamp:
        arguments.stamp.touch()
    print(f"{files} files, {offences} offences against the layers")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
