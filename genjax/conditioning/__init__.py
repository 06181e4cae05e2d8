"""Pure functions of what a model is conditioned on: low-resolution images, masks, dropout of conditioning."""
