"""How checkpoints are measured: benchmarks, scores with their uncertainty, and the gate.

Belongs here: what is asked (`items`, `benchmarks`), what an answer is worth (`answers`, `judging`, `scoring`,
`summary`), and what a checkpoint must hold (`gate`). Not here: how a model is run (`inference`), and the
demo's own benchmarks (`demo.benchmarks`), which are written in the official formats and read back.
"""
