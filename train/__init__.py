"""Training: recipes, losses, data and a loop one can see. `python -m train --help` says how to start."""
