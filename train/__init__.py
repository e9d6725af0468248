"""Training and fine-tuning: `tevit train --help`.

`recipes` holds every published recipe; `sources` and `data` make batches; `losses` and `loop`, with the step and the
checkpoints, train and resume to the bit; `setup` connects them, and `distributed` is the use of torchrun.
"""
