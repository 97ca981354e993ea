"""Measures imgmove beside its peers, and how its cost grows: ``make bench`` writes ``docs/benchmarks.md``."""
