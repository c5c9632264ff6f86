"""Trainable systems x' = A x + B u, y = C x, one file for each structure in which A is kept."""
