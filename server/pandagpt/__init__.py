"""An OpenAI-compatible inference server for PandaGPT."""

__version__ = "0.1.0"
