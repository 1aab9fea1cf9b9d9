"""Cases, cohorts, splits, slices and batches: everything between files and tensors."""
