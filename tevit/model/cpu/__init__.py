"""Faster inference on a CPU, from outside the model: `packed.pack` replaces layers of a loaded model by packed ones and
Winograd convolutions, `malloc` sets up the allocator.
"""
