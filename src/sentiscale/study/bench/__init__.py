"""Runs the cases of a scaling study in fresh processes and stores one record each."""
