"""protobuf's wire format, as far as TensorBoard's files need it."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """Return a whole number of up to 64 bits, negative ones as their two's complement."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def number_field(field: int, number: int) -> bytes:
    """Return a field that holds a whole number."""
    return varint(field << 3) + varint(number)


def bytes_field(field: int, payload: bytes) -> bytes:
    """Return a field that holds bytes, a text or another message."""
    return varint(field << 3 | 2) + varint(len(payload)) + payload
