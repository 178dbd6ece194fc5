"""The error of an encoder that cannot be built or read."""


class EncoderRefused(ValueError):
    """The files are not an encoder that this version can read, or do not match the encoder."""
