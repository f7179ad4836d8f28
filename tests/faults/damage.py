"""Damage to the bytes of a file, as disks, copies and editors do it."""

import random


def damaged(data: bytes, random: random.Random) -> tuple[bytes, str]:
    """Other bytes than these, and what was done to them, its kind first."""
    kind = random.choice(("flipped", "flipped", "flipped", "cut", "emptied", "zeroed", "overwritten", "extended"))
    place = random.randrange(len(data)) if data else 0
    changed = bytearray(data)
    if kind == "flipped" and data:
        bit = random.randrange(8)
        changed[place] ^= 1 << bit
        return bytes(changed), f"flipped bit {bit} of byte {place:,} of {len(data):,}"
    if kind == "cut" and data:
        return data[:place], f"cut to {place:,} of {len(data):,} bytes"
    if kind in ("zeroed", "overwritten") and data:
        length = min(random.choice((1, 16, 512, 4096)), len(data) - place)
        changed[place : place + length] = bytes(length) if kind == "zeroed" else random.randbytes(length)
        if bytes(changed) != data:
            return bytes(changed), f"{kind} {length:,} bytes at {place:,} of {len(data):,}"
    if kind == "emptied" and data:
        return b"", f"emptied of {len(data):,} bytes"
    extra = random.choice((b"\0", b"\n", b"}", random.randbytes(9)))
    return data + extra, f"extended by {extra!r} to {len(data) + len(extra):,} bytes"
