"""Floor 3: what samples are measured by: statistics in numpy float64, and a small classifier for features."""
