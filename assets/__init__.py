"""What is materialised: thin Dagster assets, one module per stage, with their asset checks beside them.

Each asset calls a plain function of `data` or `models`, records metadata and returns. torch is imported inside
functions only, so that the code location loads without it.
"""
