"""Layers around a state space system: (B, L, H) at module borders, channels outermost in memory.

A *mixer* is a layer that mixes along time; `SSMLayer` is the main one. All have the same methods
(`nn.block.Mixer`), so that any of them fits in a block, a stack, a U-Net.
"""
