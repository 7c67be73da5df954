"""The quality of a run.

metrics.py        measures arrays of samples
evaluate.py       chooses what to measure for a dataset
field_values.py   the field and D's approximation of it in numbers, and how well D follows
duplicates.py      estimates how many different samples a generator makes
verdict.py        says what the numbers mean, and what to do next
"""
