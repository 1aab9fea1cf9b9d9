"""What annotators drew (curves, polygons, ellipses, runs of pixels), turned into masks and merged."""
