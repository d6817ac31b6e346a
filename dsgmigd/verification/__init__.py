"""The verifier: it walks source and target by itself.

It shares no code with the copying but names, the content hash, how files are reached without
following links, and two rules that have to be the same everywhere: what stays out of the dataset,
and what gets an entry in a manifest.
"""
