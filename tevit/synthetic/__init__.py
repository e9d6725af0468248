"""Synthetic 'moving shapes' videos in YouTube-VIS form: scenes, their rendering, the data set with planted label
errors, and results of a random model, which benchmarks read.
"""
