"""NumPy's .npy files without its loader: the header is checked before an array exists.

No pickle can be reached from here, and a header cannot ask for memory its file lacks.
"""

import math
from io import BytesIO

import numpy as np

from pandagpt.errors import InvalidMedia

NPY_MAGIC = b"\x93NUMPY"
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# What the header's literal parser raises on hostile text.
_HEADER_ERRORS = (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, LookupError)


def read_npy(data: bytes) -> np.ndarray:
    """A read-only array of integers or floats, in this machine's byte order or the file's."""
    file = BytesIO(data)
    shape, fortran_order, dtype = _read_header(file)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise InvalidMedia(
            "The .npy holds no plain numbers. Save it as float32, float64 or an integer type."
        )
    payload = len(data) - file.tell()
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or claimed != payload:
        raise InvalidMedia(
            f"The .npy header claims {claimed} bytes of numbers, {payload} follow. "
            "It is cut short or broken."
        )
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _read_header(file: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        return _READERS[np.lib.format.read_magic(file)](file)
    except _HEADER_ERRORS:
        raise InvalidMedia("The .npy header cannot be read. Save the array again.") from None
