"""Synthetic clips: drawn faces that show action units, in the layout of CASME II."""
