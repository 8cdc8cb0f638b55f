"""LLaMA compiled for the CPU it runs on."""
