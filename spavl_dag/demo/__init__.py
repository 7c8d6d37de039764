"""The embedded world: cards with pictograms, sentences about them, and the tiny model trained on both.

What belongs here: the invented world (`symbols`, `cards`, `wordings`, `language`) and what trains, saves and
scores the one model that plays every role in it (`params`, `model`, `train`, `score`). What does not:
anything that an artifact of the DAG decides (which class gets how many cards, which respondent has which
caution), which reads this package through the interface of those modules. Nothing here knows dagster, dvc or
mlflow, and only `model`, `train` and `score` import torch.
"""
