"""Random draws that depend on names, not on positions: the one source of chance in the data wing.

A generator that is asked row after row gives other answers when the rows arrive in another order. A keyed hash does
not: the draw of a specimen is a function of (seed, purpose, specimen) alone, on every machine and in every Python.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def draws(seed: int, purpose: str, keys: Iterable[str]) -> npt.NDArray[np.uint64]:
    """One uniform 64-bit number a key: BLAKE2b (RFC 7693) of seed, purpose and key.

    Sorting by it is a seeded shuffle; `draw / 2**64 < p` is a coin of chance p. Two purposes give independent draws.

    Args:
        seed: any integer.
        purpose: what is drawn, e.g. "cap"; one purpose a decision, so that no decision follows from another.
        keys: the names, each of which stands for itself: equal keys get equal draws.

    Returns:
        uint64, one a key, in the order of `keys`.

    Raises:
        ValueError: `purpose` holds a NUL, which separates it from the key.
    """
    if "\0" in purpose:
        raise ValueError(f"purpose {purpose!r} holds a NUL character: give a plain word")
    start = blake2b(f"{int(seed)}\0{purpose}\0".encode(), digest_size=8)

    def digest(key: str) -> bytes:
        state = start.copy()
        state.update(key.encode("utf-8", "surrogatepass"))
        return state.digest()

    return np.frombuffer(b"".join(map(digest, keys)), dtype="<u8").astype(np.uint64)
