"""Random numbers that depend on names, not on positions: the only source of randomness in splits and shard plans.

The numbers of a sequential generator depend on the order of rows. A keyed hash does not: the number of a specimen is a
function of (seed, purpose, specimen) only, on every machine and in every Python version.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def draw_numbers(seed: int, purpose: str, keys: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Draw one uniform 64-bit number per key: BLAKE2b (RFC 7693) of seed, purpose and key.

    Sorting by the numbers gives a seeded shuffle; `number / 2**64 < p` is true with probability p. Different purposes
    give independent numbers.

    Args:
        seed: any integer.
        purpose: what the numbers decide, e.g. "cap"; use each purpose for one decision, so that decisions are
            independent.
        keys: names; equal keys get equal numbers.

    Returns:
        UInt64, one number per key, in the order of `keys`.

    Raises:
        ValueError: `purpose` contains a NUL character, which separates it from the key.
    """
    if "\0" in purpose:
        raise ValueError(f"purpose {purpose!r} contains a NUL character: give a plain word")
    start = blake2b(f"{int(seed)}\0{purpose}\0".encode(), digest_size=8)

    def digest(key: str) -> bytes:
        state = start.copy()
        state.update(key.encode("utf-8", "surrogatepass"))
        return state.digest()

    return np.frombuffer(b"".join(map(digest, keys)), dtype="<u8").astype(np.uint64)
