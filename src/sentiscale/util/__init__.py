"""Atomic files, child processes, progress and memory; nothing here knows about reviews or models."""
