"""Predicts time and cost on machines one does not have, by simulating steps from measured costs."""
