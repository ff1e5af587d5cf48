"""One module per dataset, each a `Dataset`: how to obtain it, find its tracks and read one of them.

A new dataset is one module here and one line in `DATASETS`. What is the same for all datasets (the index of raw files,
normalisation, the manifest) does not belong here.
"""

from __future__ import annotations

from data.datasets.base import Dataset, Extracted
from data.datasets.medleydb import MedleyDB
from data.datasets.musdb18 import Musdb18
from data.datasets.own import Own

# Of a recording that several datasets hold, the copy in the first of them is used.
DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Musdb18(),
        MedleyDB(),
        Own(),
    )
}

__all__ = ["DATASETS", "Dataset", "Extracted"]
