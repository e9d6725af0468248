"""What the studio keeps on disk: results of runs under their tokens, and the review log of a project on SQLite."""
