"""Analysis of evaluated models: the service that evaluates in the background and keeps the results, the comparison
of models with one table of all tracks, its filters and plots, matches of one video, thumbnails and exports.
"""
