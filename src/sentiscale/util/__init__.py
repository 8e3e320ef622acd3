"""Atomic files, child processes, progress and memory: helpers that know nothing about reviews or models."""
