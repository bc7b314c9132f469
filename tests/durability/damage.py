"""What can become of the bytes of a file: on a bad disk, in a power cut, by a copy that was cut short."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

SECTOR = 512
Kind = Callable[[bytes, bytes, random.Random], bytes]


def _span(content: bytes, rng: random.Random, most: int = 4 * SECTOR) -> tuple[int, int]:
    """Return where a piece begins and ends; every other one has the borders of a disk's sectors."""
    if rng.random() < 0.5 and len(content) > SECTOR:
        start = rng.randrange(len(content) // SECTOR) * SECTOR
        return start, start + SECTOR * rng.randint(1, 4)
    start = rng.randrange(len(content))
    return start, start + rng.randint(1, most)


def _replaced(content: bytes, start: int, stop: int, piece: bytes) -> bytes:
    stop = min(stop, len(content))
    return content[:start] + piece[: stop - start] + content[stop:]


def _flip(content: bytes, rng: random.Random, low: int, high: int) -> bytes:
    at = rng.randrange(max(low, 0), min(high, len(content)))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def flipped_bit(content: bytes, older: bytes, rng: random.Random) -> bytes:
    return _flip(content, rng, 0, len(content))


def flipped_bits(content: bytes, older: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(2, 8)):
        content = _flip(content, rng, 0, len(content))
    return content


def flipped_at_the_front(content: bytes, older: bytes, rng: random.Random) -> bytes:
    return _flip(content, rng, 0, rng.choice([16, 128, 1024]))


def flipped_at_the_end(content: bytes, older: bytes, rng: random.Random) -> bytes:
    return _flip(content, rng, len(content) - rng.choice([32, 256, 1024]), len(content))


def another_digit(content: bytes, older: bytes, rng: random.Random) -> bytes:
    """Change a number in a text: what is still well formed and says something else."""
    places = [match.start() for match in re.finditer(rb"(?<=[\[ ,:.\"/])\d", content)]
    if not places:
        return flipped_bit(content, older, rng)
    at = rng.choice(places)
    return content[:at] + b"%d" % ((content[at] - ord("0") + rng.randint(1, 9)) % 10) + content[at + 1 :]


def another_letter(content: bytes, older: bytes, rng: random.Random) -> bytes:
    """Change a letter in a text: a name that is not the same."""
    places = [match.start() for match in re.finditer(rb"(?<=[a-z\"_.:])[a-z]", content)]
    if not places:
        return flipped_bit(content, older, rng)
    at = rng.choice(places)
    return content[:at] + bytes([ord("a") + (content[at] - ord("a") + rng.randint(1, 25)) % 26]) + content[at + 1 :]


def truncated(content: bytes, older: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice([rng.randrange(len(content)), len(content) - rng.randint(1, 64), 0])]


def extended(content: bytes, older: bytes, rng: random.Random) -> bytes:
    return content + rng.choice([bytes(rng.randint(1, SECTOR)), rng.randbytes(rng.randint(1, SECTOR))])


def inserted(content: bytes, older: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + rng.randbytes(rng.randint(1, 64)) + content[at:]


def cut_out(content: bytes, older: bytes, rng: random.Random) -> bytes:
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def zeroed(content: bytes, older: bytes, rng: random.Random) -> bytes:
    start, stop = _span(content, rng)
    return _replaced(content, start, stop, bytes(stop - start))


def garbled(content: bytes, older: bytes, rng: random.Random) -> bytes:
    start, stop = _span(content, rng)
    return _replaced(content, start, stop, rng.randbytes(stop - start))


def swapped(content: bytes, older: bytes, rng: random.Random) -> bytes:
    size = rng.randint(1, max(1, min(SECTOR, len(content) // 2)))
    one, two = sorted((rng.randrange(len(content) - size + 1), rng.randrange(len(content) - size + 1)))
    two = max(two, one + size)
    return (
        content[:one] + content[two : two + size] + content[one + size : two] + content[one : one + size] + content[two + size :]
    )


def repeated(content: bytes, older: bytes, rng: random.Random) -> bytes:
    """Put a piece of the file in another place of it too."""
    start, stop = _span(content, rng)
    at = rng.randrange(len(content))
    return _replaced(content, at, at + stop - start, content[start:stop])


def half_overwritten(content: bytes, older: bytes, rng: random.Random) -> bytes:
    """Leave the file of the save before from some place on, as one that is overwritten where it lies."""
    at = rng.randrange(len(content))
    return content[:at] + older[at:]


def in_part_older(content: bytes, older: bytes, rng: random.Random) -> bytes:
    """Put pieces of the file of the save before into the newer one, as where writes are lost."""
    for _ in range(rng.randint(1, 4)):
        start, stop = _span(content, rng)
        content = _replaced(content, start, stop, older[start:stop])
    return content


KINDS: list[Kind] = [
    *(flipped_bit, flipped_bits, flipped_at_the_front, flipped_at_the_end, another_digit, another_letter),
    *(truncated, extended, inserted, cut_out, zeroed, garbled, swapped, repeated, half_overwritten, in_part_older),
]


def mutants(content: bytes, older: bytes, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield what can have become of a file, each kind in its turn, without end.

    Args:
        content: The file.
        older: The file of the save before.
        rng: Decides where the damage is.
    """
    while True:
        for kind in KINDS:
            mutant = kind(content, older, rng)
            if mutant != content:
                yield kind.__name__, mutant
