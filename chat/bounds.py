"""What rendering a chat by a model's template may take; the environment may say otherwise.

``cpu_s`` is set by ``CLADE_TEMPLATES__CPU_S``, for every program that renders: `clade infer`,
`clade train`, `clade trainer`, and the trainer that `clade serve` keeps.
"""

import os
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "CLADE_TEMPLATES__"


class Bounds(BaseSettings):
    """Of one rendering. Errors name the field, e.g. ``templates.cpu_s``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    template_nbytes: int = Field(64 << 10, ge=1, description="The template itself, bytes.")
    cpu_s: int = Field(
        2, ge=1, description="Processor time, seconds; ordinary chats take under a millisecond."
    )
    memory_nbytes: int = Field(
        512 << 20,
        ge=64 << 20,
        description="Memory, bytes, beside what the process needs to be there.",
    )
    characters: int = Field(32 << 20, ge=1, description="The text that it makes of a chat.")
    wall_s: float = Field(
        60, gt=0, description="After this time the process is taken for lost, seconds."
    )

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """A misspelt variable must not leave a default in force unnoticed."""
        known = {PREFIX + name.upper() for name in type(self).model_fields}
        for name in os.environ:
            if name.upper().startswith(PREFIX) and name.upper() not in known:
                raise ValueError(f"{name} is no setting: there are {', '.join(sorted(known))}")
        return self
