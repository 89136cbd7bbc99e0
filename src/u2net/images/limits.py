"""What is looked at in JPEG and PNG files, or left out of them, before Pillow reads them."""

from __future__ import annotations

import re
import zlib

from u2net.errors import ImageTooLarge

# A progressive JPEG can ask for one more pass over all its pixels in 75 bytes. Encoders write about ten passes;
# 100 is libtiff's limit too.
_MAX_SCANS = 100
# Pillow walks over segments one by one, in Python. Cameras write a few dozen.
_MAX_SEGMENTS, _MAX_FILL = 10_000, 1000


def check_segments(jpeg: bytes) -> None:
    """Refuse more segments and scans than pictures have, up to the end of the first one (ITU-T T.81, annex B)."""
    # Within a scan FF is followed by 00 or a restart marker; the markers sought head a segment with its length.
    marker = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")
    num_scans, num_segments, found = 0, 0, marker.search(jpeg, 2)
    while found and found[1] != b"\xd9":
        num_scans += found[1] == b"\xda"
        num_segments += 1
        end = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
        if num_scans > _MAX_SCANS or num_segments > _MAX_SEGMENTS or jpeg[end : end + _MAX_FILL] == b"\xff" * _MAX_FILL:
            raise ImageTooLarge(f"the JPEG picture has more than {_MAX_SCANS} scans, or far too many segments")
        found = marker.search(jpeg, end)


def bare_png(png: bytes, max_icc_bytes: int) -> tuple[bytes, bytes | None]:
    """Keep the chunks that make the first frame; give the colour profile beside them.

    Pillow refuses pictures with texts or profiles of more than 1 MiB, and with faults in later frames.
    """
    kept, position, profile = [png[:8]], 8, None
    seen: set[bytes] = set()  # all but IDAT stand once
    while position < len(png):
        end = position + 12 + int.from_bytes(png[position : position + 4])
        kind = png[position + 4 : position + 8]
        if kind in seen:
            pass
        elif kind == b"iCCP":
            _, _, compressed = png[position + 8 : end - 4].partition(b"\0")
            try:
                profile = zlib.decompressobj().decompress(compressed[1:], max_icc_bytes + 1)
            except zlib.error:
                profile = None
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"):
            kept.append(png[position:end])
        if kind != b"IDAT":
            seen.add(kind)
        position = end
    return b"".join(kept), profile
