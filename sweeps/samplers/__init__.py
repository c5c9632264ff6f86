"""The samplers: one file each, this folder is the registry.

A file holds `Options` (a @config dataclass), `check(options, space, objectives)`, which raises
ValueError for a space that the sampler cannot search, and `build(options, space, seed)`, which
gives an Optuna sampler. `seed` differs between drivers of one sweep, so that none repeats another.
"""
