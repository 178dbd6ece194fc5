"""JPEG headers, read without decoding."""


def is_scalable(data: bytes) -> bool:
    """Check that the first frame of a JPEG can be scaled by libjpeg: baseline, extended or progressive.

    libjpeg ignores the scale of a lossless frame and would write the full size into the smaller buffer. A file whose
    markers are not contiguous is not trusted either.
    """
    frame = find_frame(data)
    return frame is not None and data[frame + 1] <= 0xC2


def read_size(data: bytes) -> tuple[int, int] | None:
    """Height and width in pixels of a JPEG's first frame; None if its markers are not contiguous."""
    frame = find_frame(data)
    if frame is None or frame + 9 > len(data):
        return None
    return int.from_bytes(data[frame + 5 : frame + 7], "big"), int.from_bytes(data[frame + 7 : frame + 9], "big")


def find_frame(data: bytes) -> int | None:
    """Position of the marker of the first frame; None if the markers before it are not contiguous."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        code = data[position + 1]
        if code == 0xFF:  # fill
            position += 1
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):  # those three define tables
            return position
        elif code <= 0x01 or 0xD0 <= code <= 0xDA:  # a marker without a length, or pixel data before a frame
            return None
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None
