"""Writes a newc archive (the kernel's initramfs format) that depends on its input's contents alone.

Usage: cpio.py < LIST > ARCHIVE

One entry per line of LIST, in the order in which the kernel unpacks them:
    dir PATH MODE
    file PATH MODE SOURCE
    link PATH TARGET
    char PATH MODE MAJOR MINOR
Owner, times, inode and device numbers are constants, so nothing of the machine that builds gets in. No privileges
are needed: devices exist in the archive only.
"""

import os
import stat
import sys


def entry(inode, path, mode, data=b"", device=(0, 0)):
    """One entry with its header: a text of hexadecimal fields, name and data padded to four bytes."""
    name = path.lstrip("/").encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
    return pad(head) + pad(data)


def pad(data):
    return data + b"\0" * (-len(data) % 4)


def parse(inode, line):
    kind, path, *rest = line.split()
    if kind == "dir":
        return entry(inode, path, stat.S_IFDIR | int(rest[0], 8))
    if kind == "file":
        with open(rest[1], "rb") as source:
            return entry(inode, path, stat.S_IFREG | int(rest[0], 8), source.read())
    if kind == "link":
        return entry(inode, path, stat.S_IFLNK | 0o777, os.fsencode(rest[0]))
    if kind == "char":
        return entry(inode, path, stat.S_IFCHR | int(rest[0], 8), device=(int(rest[1]), int(rest[2])))
    sys.exit(f"cpio.py: unknown kind of entry: {line!r}")


def main():
    out = sys.stdout.buffer
    size = 0
    lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
    for inode, line in enumerate(lines, start=1):
        size += out.write(parse(inode, line))
    size += out.write(entry(0, "TRAILER!!!", 0))
    out.write(b"\0" * (-size % 512))


main()
