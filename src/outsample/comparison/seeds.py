"""Seeds of streams of random numbers that must not meet."""

import hashlib


def derive_seed(*parts: object) -> int:
    """A 32-bit seed that depends on all of ``parts``, so that streams never meet by accident.

    Networks drawn with seed 0 and inputs drawn with seed 0 would otherwise share their numbers.
    """
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
