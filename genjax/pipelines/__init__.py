"""Floor 5: what a person samples from."""
