"""Benchmarks: the same cases for rnnfast, its NumPy reference and its peers, checked before they are timed."""
