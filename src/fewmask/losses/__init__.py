"""Pure functions from tensors to a scalar, each with its equation cited on it."""
