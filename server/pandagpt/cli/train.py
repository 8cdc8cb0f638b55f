"""`pandagpt train`: trains models with this repository's own code."""

from pathlib import Path
from typing import Literal


def tiny(*, out: Path, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
    """Train the bundled model from nothing, with fixed seeds.

    Parameters
    ----------
    out
        Folder of the finished bundle; finished stages are kept beside it and not repeated.
    device
        Where to run. Two CPU cores need some hours.
    """
    from pandagpt.model.device import choose
    from pandagpt.training.tiny import train_tiny

    out.parent.mkdir(parents=True, exist_ok=True)
    train_tiny(out, choose(device, "auto").device)
    print(f"Done. Serve it: pandagpt serve --model {out}")
