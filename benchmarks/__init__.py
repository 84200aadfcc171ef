"""Figures of this machine: what the promises cost, as ratios within one run. `python -m benchmarks --help`."""
