"""TFRecord files of `tf.train.Example`s, read without TensorFlow.

A record is its length (u64), the length's masked CRC-32C, the payload and the payload's. An Example is a map from names
to lists of byte strings, floats or integers, in protobuf's wire format; all numbers are little endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fewmask.data.convert.checksum import masked_crc32c
from fewmask.errors import InputFault

_HEADER, _FOOTER = 12, 4
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_BYTES_LIST, _INTEGER_LIST = 1, 3


@dataclass(frozen=True)
class Example:
    """One record: its features that are byte strings and those that are integers, and where in the file it starts.

    Features that are lists of floats are left out.
    """

    offset: int
    texts: dict[str, bytes]
    numbers: dict[str, int]


def read_examples(path: Path) -> Iterator[Example]:
    """The records of a file, in order, with their checksums verified.

    Raises InputFault, naming the file and the byte, for a record that is cut short, altered, or no Example.
    """
    content = memoryview(path.read_bytes())
    if not content:
        raise InputFault(f"{path}: at byte 0: the file is empty; copy it again")
    offset = 0
    while offset < len(content):
        payload = _payload(content, offset, path)
        try:
            yield _example(payload, offset)
        except (IndexError, ValueError, struct.error):
            raise InputFault(
                f"{path}: at byte {offset}: the record is no tf.train.Example; give SIFA's own tfrecords"
            ) from None
        offset += _HEADER + len(payload) + _FOOTER


def _payload(content: memoryview, offset: int, path: Path) -> memoryview:
    where, left = f"{path}: at byte {offset}", len(content) - offset
    if left < _HEADER:
        raise InputFault(f"{where}: the file is cut short, {left} bytes follow; copy it again")
    length, checksum = struct.unpack_from("<QI", content, offset)
    if masked_crc32c(content[offset : offset + 8]) != checksum:
        raise InputFault(
            f"{where}: the checksum of the record's length is wrong; unpack the file if it is compressed, or "
            "copy it again"
        )
    if length + _HEADER + _FOOTER > left:
        raise InputFault(
            f"{where}: the record is cut short, {left} of its {length + _HEADER + _FOOTER} bytes are there; "
            "copy it again"
        )
    payload = content[offset + _HEADER : offset + _HEADER + length]
    (checksum,) = struct.unpack_from("<I", content, offset + _HEADER + length)
    if masked_crc32c(payload) != checksum:
        raise InputFault(
            f"{where}: the record's checksum is wrong, so its content was altered; copy it again"
        )
    return payload


def _example(payload: memoryview, offset: int) -> Example:
    texts: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    for features in _parts(payload, 1):
        for entry in _parts(features, 1):
            name = bytes(_only(_parts(entry, 1))).decode()
            feature = _only(_parts(entry, 2))
            for values in _parts(feature, _BYTES_LIST):
                texts[name] = bytes(_only(_parts(values, 1)))
            for values in _parts(feature, _INTEGER_LIST):
                numbers[name] = _first_integer(values)
    return Example(offset, texts, numbers)


def _only(parts: list[memoryview]) -> memoryview:
    if len(parts) != 1:
        raise ValueError("not exactly one")
    return parts[0]


def _parts(message: memoryview, number: int) -> list[memoryview]:
    """The sub-messages or strings of a message that have this field number."""
    return [value for field, value in _fields(message) if field == number and isinstance(value, memoryview)]


def _first_integer(values: memoryview) -> int:
    """The first number of a list, whether packed or not."""
    for field, value in _fields(values):
        if field == 1:
            return value if isinstance(value, int) else _varint(value, 0)[0]
    raise ValueError("an empty list")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers with their values: sub-messages and strings as they lie, whole numbers, floats skipped."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            length, at = _varint(message, at)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("an unknown wire type")
        if at + length > len(message):
            raise ValueError("a field beyond its message")
        if kind == _LENGTH:
            yield key >> 3, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at a place, seven bits a byte, as a signed one of 64 bits; and the place after it."""
    value = 0
    for index in range(10):
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            signed = value - (1 << 64) if value >= 1 << 63 else value
            return signed, at + index + 1
    raise ValueError("a number of more than ten bytes")
