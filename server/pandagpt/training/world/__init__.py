"""The toy world: twenty things that can be seen, heard, felt and measured, all drawn by code."""
