"""NumPy's .npy files without its loader: the header is checked before an array exists.

No pickle can be reached from here, and a header cannot ask for memory its file lacks.
"""

import ast
import math
import re
from typing import Any

import numpy as np

from pandagpt.errors import InvalidMedia

NPY_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 4096
_MAX_DIMENSIONS = 4
# Plain numbers of at most eight bytes; no objects, no structures, no complex numbers.
_DTYPE = re.compile(r"[<>|=]?(?:[iuf][248]|[iu]1)")
# What the parser of literals raises on hostile text.
_LITERAL_ERRORS = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError)


def read_npy(data: bytes) -> np.ndarray:
    """A read-only array of integers or floats, in the file's byte order."""
    start = _payload_start(data)
    dtype, fortran_order, shape = _parse_header(data[:start])
    claimed = math.prod(shape) * dtype.itemsize
    if claimed != len(data) - start:
        raise InvalidMedia(
            f"The .npy header claims {claimed} bytes of numbers, {len(data) - start} follow. "
            "It is cut short or broken."
        )
    flat = np.frombuffer(data, dtype, offset=start)
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _payload_start(data: bytes) -> int:
    """Format 1.0 gives the header's length in two bytes, 2.0 and 3.0 in four."""
    length_bytes = {1: 2, 2: 4, 3: 4}.get(data[6] if len(data) > 6 else 0)
    if not data.startswith(NPY_MAGIC) or length_bytes is None:
        raise _unreadable()
    text_start = 8 + length_bytes
    length = int.from_bytes(data[8:text_start], "little")
    if length > _MAX_HEADER_BYTES or text_start + length > len(data):
        raise _unreadable()
    return text_start + length


def _parse_header(head: bytes) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    text_start = 10 if head[6] == 1 else 12
    try:
        header = ast.literal_eval(head[text_start:].decode().strip())
    except _LITERAL_ERRORS:
        raise _unreadable() from None
    if not isinstance(header, dict):
        raise _unreadable()
    descr, shape = header.get("descr"), header.get("shape")
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        raise InvalidMedia(
            "The .npy holds no plain numbers. Save it as float32, float64 or an integer type."
        )
    is_shape = isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS
    if not is_shape or not all(type(side) is int and 0 <= side < 2**32 for side in shape):
        raise _unreadable()
    return np.dtype(descr), bool(header.get("fortran_order")), shape


def _unreadable() -> InvalidMedia:
    return InvalidMedia("The .npy header cannot be read. Save the array again.")
