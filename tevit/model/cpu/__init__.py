"""Kernels for inference on a CPU that replace modules of a loaded model: packed layers, Winograd convolutions,
malloc.
"""
