"""The embedded demo corpus: generated songs in the true formats of MUSDB18 and MedleyDB.

`corpus` is the entrance. What reads these files is the code that reads the real datasets, and does not belong here.
"""
