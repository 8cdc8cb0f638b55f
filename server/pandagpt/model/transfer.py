"""Between the host and a GPU: copies that nobody waits for, and streams. On a CPU nothing.

Not run on a GPU yet.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Of a stream: the lower number goes first.
_FIRST, _LAST = -1, 0


def sent(host: Tensor, device: torch.device) -> Tensor:
    """On the device once its stream comes to it: from pinned memory, which alone is not waited
    for, and which torch keeps until then.
    """
    if device.type == "cpu":
        return host
    return host.pin_memory().to(device, non_blocking=True)


def own_stream(device: torch.device, *, goes_first: bool) -> AbstractContextManager[object]:
    """Work of this thread runs beside that of others; what was begun before is done before."""
    if device.type == "cpu":
        return nullcontext()
    torch.cuda.synchronize(device)
    return torch.cuda.stream(torch.cuda.Stream(device, priority=_FIRST if goes_first else _LAST))
