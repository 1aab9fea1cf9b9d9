"""One file a paper: its networks, its players, one training step, one way to segment."""
