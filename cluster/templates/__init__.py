"""Text of cluster files, filled in by `cluster/render.py`: `@{name}` stands for a checked value.

A line whose value is empty is left out; a value of several lines keeps its placeholder's indent.
"""
