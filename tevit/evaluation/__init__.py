"""The official metric of YouTube-VIS, exact to rounding, and the errors behind it: figures by class, size, length and
video, bootstrap intervals, error types and what each costs in AP, oracles, charts and an HTML report."""
