"""The losses: the settings that a candidate gives, and the functions that they build.

A loss is added as its settings, a `Section` with a `name` and `build()`, joined to `LossSettings` below, and a function
in `functions`, which is imported only when it is built: settings are listed without torch.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.losses.settings import ContrastiveCosineSettings, L1Settings, RepairedContrastiveCosineSettings

LossSettings = Annotated[
    ContrastiveCosineSettings | RepairedContrastiveCosineSettings | L1Settings, Field(discriminator="name")
]
