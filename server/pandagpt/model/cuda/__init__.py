"""LLaMA's decode step captured for a GPU, and kernels for what torch does in too many calls."""
