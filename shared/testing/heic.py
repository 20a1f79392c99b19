"""HEIC files without an encoder: HEVC that stores every sample as it is (its PCM mode) in the smallest legal container.

The packages at hand read HEIC and do not write it. Nothing here compresses: the stream is made of 32 × 32 blocks of raw
samples, each in a slice of its own, so that the arithmetic coder starts anew with each and needs no tables.
"""

from __future__ import annotations

import struct
from typing import Final

from PIL import Image

_BLOCK_PX: Final = 32
_PROFILE: Final = bytes([0x03, 0x70, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 90])  # main still picture, level 3
_VPS, _SPS, _PPS, _IDR = 32, 33, 34, 20


def heic(image: Image.Image, quarter_turns: int = 0) -> bytes:
    """The picture as HEIC, to be shown turned anti-clockwise by so many quarters. Its sides must be multiples of 32."""
    if image.width % _BLOCK_PX or image.height % _BLOCK_PX:
        raise ValueError(
            f"a picture of {image.width} x {image.height} px cannot be stored; use multiples of {_BLOCK_PX}"
        )
    parameter_sets = (
        _nal(_VPS, _video_parameters()),
        _nal(_SPS, _sequence_parameters(image)),
        _nal(_PPS, _picture_parameters()),
    )
    return _container(image, parameter_sets, _slices(image.convert("YCbCr")), quarter_turns)


class _Bits:
    """Bits in the order they are written."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, value: int, width: int) -> None:
        self._bits.append(format(value, f"0{width}b") if width else "")

    def flags(self, *values: int) -> None:
        self._bits += [str(value) for value in values]

    def golomb(self, *values: int) -> None:
        for value in values:
            self.fixed(value + 1, 2 * (value + 1).bit_length() - 1)

    def align(self, first_bit: int | None = None) -> None:
        """Fill the byte up with zeros; with `first_bit` write that before."""
        if first_bit is not None:
            self.flags(first_bit)
        joined = "".join(self._bits)
        self._bits = [joined + "0" * (-len(joined) % 8)]

    def content(self) -> bytes:
        joined = "".join(self._bits)
        return int(joined, 2).to_bytes(len(joined) // 8, "big") if joined else b""


class _ArithmeticCoder:
    """As much of CABAC as a block of raw samples needs: decisions that end it, and probable ones before."""

    def __init__(self, bits: _Bits) -> None:
        self._bits = bits
        self._low = 0
        self._range = 510
        self._outstanding = 0
        self._is_first = True

    def probable(self, improbable_range: int) -> None:
        """The more probable value of a decision; none here makes the range so small that bits come out."""
        self._range -= improbable_range

    def terminate(self) -> None:
        """The decision that ends the arithmetic code, and what is left in the coder."""
        self._low += self._range - 2
        self._range = 2
        while self._range < 256:
            if self._low < 256:
                self._put(0)
            elif self._low >= 512:
                self._low -= 512
                self._put(1)
            else:
                self._low -= 256
                self._outstanding += 1
            self._range <<= 1
            self._low <<= 1
        self._put(self._low >> 9 & 1)
        self._bits.fixed((self._low >> 7 & 3) | 1, 2)

    def _put(self, bit: int) -> None:
        if self._is_first:
            self._is_first = False
        else:
            self._bits.flags(bit)
        self._bits.flags(*[1 - bit] * self._outstanding)
        self._outstanding = 0


def _video_parameters() -> _Bits:
    bits = _Bits()
    bits.fixed(0, 4)
    bits.flags(1, 1)
    bits.fixed(0, 6)
    bits.fixed(0, 3)
    bits.flags(1)
    bits.fixed(0xFFFF, 16)
    bits.fixed(int.from_bytes(_PROFILE, "big"), 96)
    bits.flags(1)
    bits.golomb(0, 0, 0)  # buffering, reordering, latency
    bits.fixed(0, 6)
    bits.golomb(0)
    bits.flags(0, 0)
    bits.align(1)
    return bits


def _sequence_parameters(image: Image.Image) -> _Bits:
    bits = _Bits()
    bits.fixed(0, 4)
    bits.fixed(0, 3)
    bits.flags(1)
    bits.fixed(int.from_bytes(_PROFILE, "big"), 96)
    bits.golomb(0, 1, image.width, image.height)  # id, 4:2:0, size
    bits.flags(0)
    bits.golomb(0, 0, 0)  # 8 bits of luma and chroma, 4 bits of picture order
    bits.flags(1)
    bits.golomb(0, 0, 0)
    bits.golomb(2, 0, 0, 3, 0, 0)  # coding blocks of 32, transform blocks of 4 to 32
    bits.flags(0, 0, 0, 1)  # no scaling lists, no asymmetric partitions, no sample offsets, but raw samples
    bits.fixed(7, 4)
    bits.fixed(7, 4)
    bits.golomb(2, 0)  # raw blocks of 32
    bits.flags(1)
    bits.golomb(0)
    bits.flags(0, 0, 0, 0, 0)
    bits.align(1)
    return bits


def _picture_parameters() -> _Bits:
    bits = _Bits()
    bits.golomb(0, 0)
    bits.flags(0, 0, 0, 0, 0, 0, 0)
    bits.golomb(0, 0, 0)
    bits.flags(0, 0, 0)
    bits.golomb(0, 0)
    bits.flags(0, 0, 0, 0, 0, 0, 0)
    bits.flags(1, 0, 1)  # no deblocking: it would touch the raw samples
    bits.flags(0, 0)
    bits.golomb(0)
    bits.flags(0, 0)
    bits.align(1)
    return bits


def _slices(image: Image.Image) -> bytes:
    luma, *chroma = image.split()
    planes = (luma, *(plane.resize((image.width // 2, image.height // 2), Image.Resampling.BOX) for plane in chroma))
    columns, rows = image.width // _BLOCK_PX, image.height // _BLOCK_PX
    address_bits = (columns * rows - 1).bit_length()
    stream = b""
    for number in range(columns * rows):
        x, y = number % columns * _BLOCK_PX, number // columns * _BLOCK_PX
        box = (x, y, x + _BLOCK_PX, y + _BLOCK_PX)
        half = (x // 2, y // 2, (x + _BLOCK_PX) // 2, (y + _BLOCK_PX) // 2)
        samples = planes[0].crop(box).tobytes() + planes[1].crop(half).tobytes() + planes[2].crop(half).tobytes()
        nal = _nal(_IDR, _slice(number, address_bits, samples))
        stream += struct.pack(">I", len(nal)) + nal
    return stream


def _slice(number: int, address_bits: int, samples: bytes) -> _Bits:
    bits = _Bits()
    bits.flags(int(number == 0), 0)
    bits.golomb(0)
    if number:
        bits.fixed(number, address_bits)
    bits.golomb(2, 0)  # intra, no change of the quantiser
    bits.align(1)
    coder = _ArithmeticCoder(bits)
    coder.probable(240)  # the block is one partition
    coder.terminate()  # and holds raw samples
    bits.align()
    for sample in samples:
        bits.fixed(sample, 8)
    _ArithmeticCoder(bits).terminate()  # the end of the slice
    bits.align()
    return bits


def _nal(kind: int, bits: _Bits) -> bytes:
    """A unit of the stream; a 3 is put where its bytes would look like the start of another."""
    escaped = bytearray()
    zeros = 0
    for byte in bits.content():
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes([kind << 1, 1]) + bytes(escaped)


def _container(image: Image.Image, parameter_sets: tuple[bytes, ...], stream: bytes, quarter_turns: int) -> bytes:
    arrays = b"".join(
        struct.pack(">BHH", 0x80 | kind, 1, len(nal)) + nal
        for kind, nal in zip((_VPS, _SPS, _PPS), parameter_sets, strict=True)
    )
    decoder = b"\x01" + _PROFILE + b"\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03" + arrays
    properties = [
        _box(b"hvcC", decoder),
        _box(b"ispe", struct.pack(">III", 0, image.width, image.height)),
        _box(b"colr", b"nclx" + struct.pack(">HHHB", 1, 13, 6, 0x80)),
        _box(b"irot", bytes([quarter_turns % 4])),
    ]
    associations = struct.pack(">IIHB", 0, 1, 1, len(properties)) + bytes(0x81 + at for at in range(len(properties)))
    item = _box(b"infe", struct.pack(">IHH4sB", 0x02000000, 1, 0, b"hvc1", 0))
    parts = (
        _box(b"hdlr", struct.pack(">II4s12xB", 0, 0, b"pict", 0)),
        _box(b"pitm", struct.pack(">IH", 0, 1)),
        _box(b"iinf", struct.pack(">IH", 0, 1) + item),
        _box(b"iprp", _box(b"ipco", b"".join(properties)) + _box(b"ipma", associations)),
    )
    start = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    location_bytes = len(_location(0, 0))
    meta_bytes = 12 + sum(map(len, parts)) + location_bytes
    location = _location(len(start) + meta_bytes + 8, len(stream))
    return start + _box(b"meta", bytes(4) + b"".join(parts) + location) + _box(b"mdat", stream)


def _location(offset: int, length: int) -> bytes:
    return _box(b"iloc", struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, offset, length))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content
