"""The reference's learning rate: logarithmic warm-up, then linear to zero (model facts, 3.5)."""

import math


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """The rate of optimiser step `step` (from 0). Step 0 runs at the full peak, as it did there."""
    if step == 0:
        return peak
    if step <= warmup:
        return peak * math.log(step) / math.log(warmup)
    return peak * (total - step + 1) / (total - warmup)
