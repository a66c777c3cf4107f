"""Unpacks the ELF kernel out of a bzImage packed with gzip.

Usage: vmlinux.py BZIMAGE VMLINUX

QEMU starts such a kernel directly (PVH), which saves unpacking it on an emulated processor.
"""

import sys
import zlib


def main(source, target):
    with open(source, "rb") as file:
        image = file.read()
    start = image.find(b"\x1f\x8b\x08")
    kernel = zlib.decompressobj(31).decompress(image[start:]) if start >= 0 else b""
    if not kernel.startswith(b"\x7fELF"):
        sys.exit(f"vmlinux.py: {source}: not packed with gzip")
    with open(target, "wb") as file:
        file.write(kernel)


main(*sys.argv[1:])
