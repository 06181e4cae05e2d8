"""Floor 0: random streams, pytrees, images and numerics that every other room uses."""
