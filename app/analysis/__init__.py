"""Analysis of evaluated models: the service that evaluates in the background and caches the results, the comparison
of models on one error table, its filters and exports, the matches of one video, and thumbnails.
"""
