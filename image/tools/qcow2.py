"""Unpacks a QCOW2 disk image without backing file or encryption into a sparse raw one.

Usage: qcow2.py IMAGE RAW

Only what the pinned image needs: versions 2 and 3, zlib-compressed and plain clusters. Anything else is refused.
"""

import struct
import sys
import zlib

OFFSET = 0x00FF_FFFF_FFFF_FE00
COMPRESSED = 1 << 62
ZERO = 1


def main(source, target):
    with open(source, "rb") as image, open(target, "wb") as raw:
        header = struct.unpack(">4sIQIIQIIQ", image.read(48))
        magic, version, backing, _, bits, size, encrypted, entries, table = header
        image.seek(72)
        features = struct.unpack(">Q", image.read(8))[0] if version == 3 else 0
        if magic != b"QFI\xfb" or version not in (2, 3) or backing or encrypted or features:
            sys.exit(f"qcow2.py: {source}: not an image of the plain kind this program reads")
        raw.truncate(size)
        cluster = 1 << bits
        for first, level2 in enumerate(read_table(image, table, entries)):
            if not level2 & OFFSET:
                continue
            for second, descriptor in enumerate(read_table(image, level2 & OFFSET, cluster // 8)):
                data = read_cluster(image, descriptor, bits)
                if data:
                    raw.seek((first * (cluster // 8) + second) * cluster)
                    raw.write(data)


def read_table(image, offset, entries):
    image.seek(offset)
    return struct.unpack(f">{entries}Q", image.read(8 * entries))


def read_cluster(image, descriptor, bits):
    if descriptor & COMPRESSED:
        split = 62 - (bits - 8)
        offset = descriptor & ((1 << split) - 1)
        sectors = ((descriptor & (COMPRESSED - 1)) >> split) + 1
        image.seek(offset)
        packed = image.read(sectors * 512 - offset % 512)
        return zlib.decompressobj(-15).decompress(packed, 1 << bits)
    if descriptor & ZERO or not descriptor & OFFSET:
        return None
    image.seek(descriptor & OFFSET)
    return image.read(1 << bits)


main(*sys.argv[1:])
