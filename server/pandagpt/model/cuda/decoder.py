"""LLaMA on a GPU: torch's decoder, whose decode steps are captured once and then replayed.

The face of `llama.Llama`. What is captured checks itself against torch's step first; what does
not agree, or cannot be captured or run, is not used. Steps that also read prompts, or that
other models than the merged one take part in, are torch's.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from pandagpt.logs import get_logger
from pandagpt.model.cuda.graphs import Capture, CudaCapture, DecodeGraphs
from pandagpt.model.cuda.passes import Pass, TorchPass
from pandagpt.model.kv_cache import KVCache, Span
from pandagpt.model.llama import Llama
from pandagpt.model.patch import NOBODY, Patched

log = get_logger()


class CudaLlama(Llama):
    new_capture: Callable[[], Capture] = CudaCapture
    graphs: DecodeGraphs | None = None
    """Of the newest cache; None: every step is torch's."""

    def new_cache(self, num_rows: int, max_len: int) -> KVCache:
        """Takes some seconds. Only the newest cache has captured steps."""
        self.graphs = None
        cache = KVCache(
            self.config,
            num_rows,
            max_len + 1,  # the spare place of `graphs`
            self.device,
            self.dtype,
            grows=False,
            fixed=True,
        )
        self.graphs = self._fastest(cache)
        return cache

    @torch.inference_mode()
    def forward(
        self,
        embeds_NH: Tensor,
        positions_N: Tensor,
        cache: KVCache,
        num_decodes: int,
        spans: Sequence[Span],
        patched: Patched = NOBODY,
    ) -> Tensor:
        """As `Llama.forward`; the hidden states may be overwritten by the next call."""
        graphs = self.graphs
        if graphs is None or graphs.cache is not cache or spans or patched:
            return super().forward(embeds_NH, positions_N, cache, num_decodes, spans, patched)
        try:
            return graphs(embeds_NH, positions_N)
        except Exception:
            # Whoever asks again for these tokens gets them from torch.
            self.graphs = None
            log.exception("decode_steps_not_captured_any_more")
            raise

    def _fastest(self, cache: KVCache) -> DecodeGraphs | None:
        """Of the ways that work, told by their smallest and their largest step."""
        ends = sorted({1, cache.num_rows})
        ways: dict[str, Callable[[], type[Pass]]] = {"torch": _torch_pass, "kernels": _kernel_pass}
        seconds: dict[str, float] = {}
        for name, way in ways.items():
            with _or_not_at_all(name, cache):
                seconds[name] = self._captured(way, cache, ends).seconds()
        for name in sorted(seconds, key=lambda name: seconds[name]):
            with _or_not_at_all(name, cache):
                graphs = self._captured(ways[name], cache)
                log.info("decode_steps_captured", way=name, seconds=seconds)
                return graphs
        return None

    def _captured(
        self, way: Callable[[], type[Pass]], cache: KVCache, sizes: Sequence[int] | None = None
    ) -> DecodeGraphs:
        return DecodeGraphs(self, cache, way(), self.new_capture(), sizes)


@contextmanager
def _or_not_at_all(way: str, cache: KVCache) -> Generator[None]:
    """Whatever goes wrong here, torch's own step still works."""
    try:
        yield
    except Exception as error:
        log.warning("decode_steps_not_captured", way=way, exc_info=error)
        cache.reset()


def _torch_pass() -> type[Pass]:
    return TorchPass


def _kernel_pass() -> type[Pass]:
    """Triton comes with torch's CUDA wheels alone."""
    from pandagpt.model.cuda.kernel_pass import KernelPass

    return KernelPass
