"""Tensors in files: several files as one mapping, read when asked for; and one file written.

Reads safetensors and PyTorch checkpoints, the latter by weights-only unpickling: nothing in a
file can run code. Both are mapped into memory, not loaded; writing holds one tensor at a time.
Knows no model.
"""

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pandagpt.errors import CheckpointError
from pandagpt.model.manifest import FileFacts

Shapes = Mapping[str, tuple[int, ...]]
SAFETENSORS_NAME = {torch.float32: "F32", torch.float16: "F16"}


class TensorFiles(Mapping[str, Tensor]):
    def __init__(self, paths: Iterable[Path]) -> None:
        self._open: dict[Path, Mapping[str, Tensor]] = {}
        self._path_of: dict[str, Path] = {}
        self.paths = list(paths)
        for path in self.paths:
            for key in self._tensors(path):
                if key in self._path_of:
                    raise CheckpointError(f"{key} is also in {self._path_of[key].name}", path)
                self._path_of[key] = path

    def __getitem__(self, key: str) -> Tensor:
        return self._tensors(self._path_of[key])[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._path_of)

    def __len__(self) -> int:
        return len(self._path_of)

    def path_of(self, key: str) -> Path:
        return self._path_of[key]

    def close(self) -> None:
        """Gives mapped memory back; a later read opens the file again."""
        self._open.clear()

    def check(self, expected: Shapes, ignored: Callable[[str], bool] = lambda key: False) -> None:
        """Every tensor has its place and every place its tensor, or CheckpointError."""
        for key, path in self._path_of.items():
            if key not in expected and not ignored(key):
                raise CheckpointError(f"{key} has no place in this model", path)
        if missing := sorted(expected.keys() - self._path_of.keys()):
            files = ", ".join(path.name for path in self.paths)
            message = f"{files}: {len(missing)} tensors are missing, the first is {missing[0]}"
            raise CheckpointError(message, self.paths[0].parent)
        for key, shape in expected.items():
            self.check_shape(key, shape)

    def check_shape(self, key: str, shape: tuple[int, ...]) -> None:
        if (found := tuple(self[key].shape)) != shape:
            message = f"{key} has shape {list(found)}, this model needs {list(shape)}"
            raise CheckpointError(message, self.path_of(key))

    def _tensors(self, path: Path) -> Mapping[str, Tensor]:
        if path not in self._open:
            if not path.is_file():
                raise CheckpointError("is missing", path)
            self._open[path] = _open_safetensors(path) or _open_pytorch(path)
        return self._open[path]


class _Safetensors(Mapping[str, Tensor]):
    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self._keys = list(self._file.keys())

    def __getitem__(self, key: str) -> Tensor:
        return self._file.get_tensor(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _open_safetensors(path: Path) -> Mapping[str, Tensor] | None:
    if path.suffix != ".safetensors":
        return None
    try:
        return _Safetensors(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"is not a whole safetensors file ({error})", path) from None


def _open_pytorch(path: Path) -> Mapping[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        message = f"cannot be read as plain weights; is it whole? ({reason})"
        raise CheckpointError(message, path) from None
    if not isinstance(state, Mapping):
        raise CheckpointError(f"holds a {type(state).__name__}, not a dict of tensors", path)
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{key} is a {type(value).__name__}, not a tensor", path)
    return {key: value.detach() for key, value in state.items()}


def write_tensors(
    path: Path, shapes: Shapes, read: Callable[[str], Tensor], dtype: torch.dtype
) -> FileFacts:
    """A safetensors file of `dtype`; scalars stay float32 (exp() of a rounded one is coarse).

    Written here and not by the library, which wants all tensors in memory, twice.
    """
    keys = sorted(shapes, key=lambda key: len(shapes[key]) > 0)  # scalars first: alignment
    blocks = (_block(key, read(key), shapes[key], dtype) for key in keys)
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as file:
            for block in chain([_header(keys, shapes, dtype)], blocks):
                file.write(block)
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise CheckpointError(f"cannot be written ({error.strerror})", path) from None
    return FileFacts(size, digest.hexdigest())


def _header(keys: Sequence[str], shapes: Shapes, dtype: torch.dtype) -> bytes:
    """Length in 8 bytes, then JSON padded with blanks to a multiple of 8 (safetensors' format)."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key in keys:
        stored = _stored(shapes[key], dtype)
        begin, end = end, end + torch.Size(shapes[key]).numel() * stored.itemsize
        entries[key] = {
            "dtype": SAFETENSORS_NAME[stored],
            "shape": shapes[key],
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _stored(shape: tuple[int, ...], dtype: torch.dtype) -> torch.dtype:
    return dtype if shape else torch.float32


def _block(key: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> memoryview:
    assert tuple(tensor.shape) == shape, key
    tensor = tensor.detach().cpu()
    rounded = tensor.to(_stored(shape, dtype)).contiguous()
    if (rounded.isinf() & ~tensor.isinf()).any():
        raise CheckpointError(f"{key} holds values beyond {dtype}'s range")
    return memoryview(rounded.reshape(-1).view(torch.uint8).numpy())
