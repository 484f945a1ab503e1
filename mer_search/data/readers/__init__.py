"""Readers of datasets: each knows the folders, tables and classes of one, and makes clips of them."""
