"""What is known about audio and datasets: read, download, sum, normalise, split, loop back, draw chunks.

Plain functions and small dataclasses. Nothing here imports Dagster, torch or `models`.
"""
