"""How fast and with how much memory a machine predicts: the model alone, from file to file, and over a long video."""
