#!/usr/bin/env python3
"""Lists the code and the tests that cite each section of each RFC: "RFC 7296 §2.8.1" in comments, [rfc4303] in tags.

    tools/rfc_index.py                 the whole index, as Markdown
    tools/rfc_index.py 7296 2.8        what cites RFC 7296 §2.8 and its subsections
    tools/rfc_index.py --untested      sections that code cites and no test does
"""
import argparse
import collections
import pathlib
import re
import signal
import sys

FOLDERS = ("common", "transports", "client", "headend", "tools", "tests")
# "RFC 7296 §2.14, §2.17" and "RFC 7296 §2.1–2.3": the RFC holds for the sections that follow on the same line.
RFC = re.compile(r"RFCs? ?(\d{3,5})")
SECTION = re.compile(r"§§? ?((?:[A-Z]|\d+)(?:\.\d+)*)")
TAG = re.compile(r"\[rfc(\d{3,5})\]")


def citations(line):
    """Yields (rfc, section); section is "" where a line cites the RFC as a whole."""
    for number in TAG.findall(line):
        yield int(number), ""
    found = list(RFC.finditer(line))
    for index, match in enumerate(found):
        end = found[index + 1].start() if index + 1 < len(found) else len(line)
        sections = SECTION.findall(line[match.end():end]) or [""]
        for section in sections:
            yield int(match.group(1)), section


def order(section):
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in section.split(".") if part]


def build_index(root):
    """{(rfc, section): {"code": [place], "tests": [place]}}"""
    index = collections.defaultdict(lambda: {"code": [], "tests": []})
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            if file.suffix not in (".h", ".cpp", ".py", ".sh", ".txt") or not file.is_file():
                continue
            path = file.relative_to(root).as_posix()
            if path == "tools/rfc_index.py" or "/corpus/" in path:
                continue
            kind = "tests" if folder == "tests" else "code"
            for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                for key in citations(line):
                    index[key][kind].append(f"{path}:{number}")
    return index


def matches(key, rfc, section):
    if rfc is not None and key[0] != rfc:
        return False
    return section is None or key[1] == section or key[1].startswith(section + ".")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rfc", type=int, nargs="?")
    parser.add_argument("section", nargs="?")
    parser.add_argument("--untested", action="store_true")
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    arguments = parser.parse_args()

    index = build_index(arguments.root)
    keys = sorted((key for key in index if matches(key, arguments.rfc, arguments.section)),
                  key=lambda key: (key[0], order(key[1])))
    if arguments.untested:
        # A tag without a section says nothing about which section a test is for, so it does not count here.
        keys = [key for key in keys if key[1] and index[key]["code"] and not index[key]["tests"]]
    if not keys:
        print("nothing cites that" if not arguments.untested else "every cited section has a test that cites it")
        return 0
    print("| section | code | tests |\n|---|---|---|")
    for rfc, section in keys:
        places = index[(rfc, section)]
        print(f"| RFC {rfc}{' §' + section if section else ''} | {' '.join(places['code']) or '-'} "
              f"| {' '.join(places['tests']) or '-'} |")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
