"""From a finished run to masks, scores and a report."""
