"""JPEG headers, read without decoding."""


def is_scalable(data: bytes) -> bool:
    """Check that the first frame of a JPEG can be scaled by libjpeg: baseline, extended or progressive.

    libjpeg ignores the scale of a lossless frame and would write the full size into the smaller buffer. A file whose
    markers are not contiguous is not trusted either.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        code = data[position + 1]
        if code == 0xFF:  # fill
            position += 1
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):  # those three define tables
            return code <= 0xC2
        elif code <= 0x01 or 0xD0 <= code <= 0xDA:  # a marker without a length, or pixel data before a frame
            return False
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False
