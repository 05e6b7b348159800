"""Knobs of a hub that mirrors another: a group of ``app.settings``."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MIB = 1 << 20
GIB = 1 << 30


class Mirror(BaseModel):
    """How ``upstream`` is mirrored. Patterns are those of shells, joined by commas."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: SecretStr | None = Field(
        None, description="Of the upstream; sent to the upstream's own address and nowhere else."
    )
    offline: bool = Field(False, description="Never ask the upstream: serve what is here.")
    fresh_s: float = Field(
        300, ge=0, description="How long what the upstream said of a repo holds, seconds."
    )
    negative_s: float = Field(
        30, ge=0, description="How long a refusal or failure of the upstream holds, seconds."
    )
    repos: str = Field(
        "*", description="Repos that may be mirrored: owner/name, datasets/owner/name, spaces/…"
    )
    hosts: str = Field(
        "*.hf.co,*.huggingface.co",
        description="Hosts, beside the upstream's own, that it may send us to for bytes. What a "
        "pattern allows must have a public address; a host named in full may be inside.",
    )
    fetched_by: Literal["anyone", "users", "admins"] = Field(
        "users",
        description="Whose requests make the hub fetch a repo that is not here. What is here is "
        "served, and kept fresh, for whoever may see it.",
    )
    restricted: Literal["refuse", "members", "open"] = Field(
        "members",
        description="Repos that the upstream shows only to some, our token among them: not "
        "mirrored, private here (administrators, and members that were added to the organisation "
        "the mirror made), or shown to all.",
    )
    ahead: Literal["nothing", "head"] = Field(
        "nothing",
        description="Big files fetched before anybody asks: none, or those of default branches.",
    )
    file_nbytes: int = Field(200 * GIB, description="Largest file that is fetched, bytes.")
    downloads: int = Field(4, ge=1, description="Files fetched at a time, per process.")
    lines: int = Field(
        4, ge=1, description="Connections over which one file is fetched, for a while up to twice."
    )
    part_nbytes: int = Field(
        16 * MIB,
        ge=64 << 10,
        description="A file is asked for, and kept while it comes, in parts of this size.",
    )
    part_s: float = Field(
        2, gt=0, description="A part is kept, and served, after this time at the latest, seconds."
    )
    connect_s: float = Field(5, gt=0, description="Time to connect to the upstream, seconds.")
    idle_s: float = Field(30, gt=0, description="Silence after which an answer is given up.")
    answer_s: float = Field(
        600, gt=0, description="Time for an answer that is no file (history included), seconds."
    )
    slowest_nbytes_s: int = Field(
        1024, description="A file that comes slower than this, bytes a second, is given up."
    )
    proxy: SecretStr | None = Field(
        None,
        description="http:// or https:// proxy to the upstream. It, not the hub, then decides "
        "which addresses are reached; hosts are checked all the same.",
    )
