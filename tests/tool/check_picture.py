#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check_picture.py light|dark PNG - is that a picture of a page of this kind, with
plots on it? For test_report.sh; reads 8-bit RGB and RGBA without interlacing, as
Chromium writes them."""
import struct
import sys
import zlib


def rows(name):
    data = open(name, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", "no PNG"
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            assert depth == 8 and colour in (2, 6) and not interlace, "another kind of PNG"
        elif kind == b"IDAT":
            packed += body
        at += 12 + n
    size = 3 if colour == 2 else 4
    raw, step, before = zlib.decompress(packed), width * size, bytearray(width * size)
    for y in range(height):
        kind, line = raw[y * (step + 1)], bytearray(raw[y * (step + 1) + 1:(y + 1) * (step + 1)])
        for i in range(step if kind else 0):
            a = line[i - size] if i >= size else 0
            b = before[i]
            c = before[i - size] if i >= size else 0
            if kind == 1:
                p = a
            elif kind == 2:
                p = b
            elif kind == 3:
                p = (a + b) // 2
            else:
                d = a + b - c
                p = min((abs(d - a), 0, a), (abs(d - b), 1, b), (abs(d - c), 2, c))[2]
            line[i] = (line[i] + p) & 255
        before = line
        yield [tuple(line[i:i + 3]) for i in range(0, step, size)]


def main(scheme, name):
    colours, bright, n = {}, 0, 0
    for line in rows(name):
        for pixel in line:
            colours[pixel] = colours.get(pixel, 0) + 1
            bright += sum(pixel)
            n += 3
    ground = bright / n
    vivid = sum(k for c, k in colours.items() if max(c) - min(c) > 60)
    print(scheme, "mean", round(ground), len(colours), "colours", vivid, "vivid pixels")
    assert ground > 220 if scheme == "light" else ground < 60, "not that scheme"
    assert len(colours) > 200 and vivid > 2000, "there are no plots on it"


main(*sys.argv[1:])
