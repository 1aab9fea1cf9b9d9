"""From what a classifier looks at to masks: maps, their fusion, geodesic expansion, and an audit of the result."""
