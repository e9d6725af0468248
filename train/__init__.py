"""Training and fine-tuning: `tevit train --help`.

`recipes` holds every published recipe; `sources`, `clips`, `sampling` and `data` make batches; `losses`, `step` and
`loop` train; `checkpoints` resumes to the bit; `setup` connects them, and `distributed` is the use of torchrun.
"""
