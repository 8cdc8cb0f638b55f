"""`pandagpt convert`: the published checkpoints to one folder that can be served."""

from pathlib import Path


def convert(
    *,
    imagebind: Path,
    vicuna: Path,
    pandagpt: Path,
    out: Path,
    vicuna_delta: Path | None = None,
    name: str | None = None,
    balance_media: bool = False,
) -> None:
    """Convert published ImageBind, Vicuna and PandaGPT checkpoints into a bundle.

    Parameters
    ----------
    imagebind
        ImageBind's checkpoint, imagebind_huge.pth.
    vicuna
        Folder of Vicuna v0 (or of LLaMA, with --vicuna-delta) in Hugging Face's layout.
    pandagpt
        PandaGPT's adapter, pytorch_model.pt.
    out
        Folder to write; it must not exist.
    vicuna_delta
        Folder of Vicuna's delta weights, added to --vicuna.
    name
        The model's name in the API. Default: the folder's.
    balance_media
        Scale the modalities alike, so that thermal and audio do not drown the others.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from pandagpt.model.convert import convert as convert_checkpoints

    columns = (TextColumn("{task.description:30}"), BarColumn(), DownloadColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("reading", total=None)

        def report(file: str, done_bytes: int, total_bytes: int) -> None:
            progress.update(task, description=file, completed=done_bytes, total=total_bytes)

        convert_checkpoints(
            imagebind,
            vicuna,
            vicuna_delta,
            pandagpt,
            out,
            report,
            name=name,
            balance_media=balance_media,
        )
    print(f"Done. Serve it: pandagpt serve --model {out}")
