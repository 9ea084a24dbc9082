"""The training loop: the only package that imports Lightning, and it knows a stage only by its protocol."""
