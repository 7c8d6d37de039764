"""Judges, judged: how often a judge or the rule of refusal phrases says what people say of the same answers.

`sets` reads answers that people labelled, `measure` asks the judges and counts.
"""
