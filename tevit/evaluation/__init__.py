"""How good predictions are, by the official metric, and what kinds of errors they make."""

from tevit.evaluation.api import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
