"""What the studio keeps on disk: results of runs, and the review log on SQLite."""
