"""CRC-32C, the checksum of TFRecord files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Registers = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's polynomial, lowest bit first (RFC 3720)."""

_LANES = 4096
_ROTATION, _OFFSET = 15, 0xA282EAD8
"""How TFRecord masks its checksums: rotated to the right, and a constant added."""


def _table() -> Registers:
    registers = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = (registers & np.uint32(1)).astype(np.bool_)
        registers = _xored(registers >> np.uint32(1), np.where(odd, np.uint32(_POLYNOMIAL), np.uint32(0)))
    return registers


def _xored(first: NDArray[Any], other: NDArray[Any]) -> Registers:
    return (first ^ other).astype(np.uint32, copy=False)


_TABLE = _table()


def crc32c(content: bytes | memoryview) -> int:
    """The CRC-32C of some bytes.

    The bytes are laid out in up to 4096 lanes that are summed side by side, then joined two by two: a million and a
    half of them take milliseconds, where a loop over bytes would take a second.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    count = len(content)
    if count < 4:
        register = 0xFFFFFFFF
        for byte in bytes(content):
            register = int(_TABLE[(register ^ byte) & 0xFF]) ^ (register >> 8)
        return register ^ 0xFFFFFFFF
    lanes = min(_LANES, 1 << (count // 64).bit_length())
    steps = -(-count // lanes)
    # To a register of 0, leading zeros do not count; that it starts with ones is said by inverting four bytes.
    padded = np.zeros(lanes * steps, dtype=np.uint8)
    padded[-count:] = np.frombuffer(content, dtype=np.uint8)
    padded[padded.size - count :][:4] ^= 0xFF
    registers = np.zeros(lanes, dtype=np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, steps).T):
        registers = _xored(_TABLE[(registers ^ column) & np.uint32(0xFF)], registers >> np.uint32(8))
    shift = _shift(steps)
    while registers.size > 1:
        registers = _xored(_applied(shift, registers[0::2]), registers[1::2])
        shift = _applied(shift, shift)
    return int(registers[0]) ^ 0xFFFFFFFF


def masked_crc32c(content: bytes | memoryview) -> int:
    """The CRC-32C as TFRecord stores it."""
    checksum = crc32c(content)
    rotated = (checksum >> _ROTATION) | (checksum << (32 - _ROTATION))
    return (rotated + _OFFSET) & 0xFFFFFFFF


def _shift(count: int) -> Registers:
    """What each of a register's 32 bits becomes when `count` zeros follow."""
    bits: Registers = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32)).astype(np.uint32)
    for _ in range(count):
        bits = _xored(_TABLE[bits & np.uint32(0xFF)], bits >> np.uint32(8))
    return bits


def _applied(shift: Registers, registers: Registers) -> Registers:
    """Registers after the zeros that `shift` stands for: a product of matrices over two elements."""
    result = np.zeros_like(registers)
    for bit in range(32):
        here = ((registers >> np.uint32(bit)) & np.uint32(1)).astype(np.bool_)
        result = _xored(result, np.where(here, shift[bit], np.uint32(0)))
    return result
