"""Reading and writing files: atomic writes, JSON with located errors, data sets and results in YouTube-VIS form, their
frames on disk, validation with repair, splits by video, and the formats of other tools.
"""
