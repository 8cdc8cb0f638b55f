"""Other servers beside ours, on the same weights and under the same load."""
