"""Proximal policy optimization of a vision language model: rollouts, losses, and the loop around them."""
