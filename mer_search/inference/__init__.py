"""A confirmed network used: predictions for clips, files for other programs, and what it looks at."""
