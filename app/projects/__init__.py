"""A data set in the studio: ground truth, frames and predictions of any number of models.

`project` has the `Project`, which reads these files, maps category ids by name and says what is missing; it makes one
from paths, saves it as `project.json`, and lists the files in the folders that pages may open.
"""
