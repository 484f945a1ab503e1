"""Micro-expression recognition: search, confirm, tell the truth."""
