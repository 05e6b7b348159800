"""Every knob of the hub, typed and documented. The environment is read here and nowhere else.

A setting ``name`` is set by ``CLADE_NAME``; nested ones by ``CLADE_LIMITS__NAME``. Unknown or bad
values stop the start with the name of the field.
"""

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.mirror_settings import Mirror
from app.networks import parse_networks
from app.training_settings import Tuning

OTHERS = {"TEMPLATES"}
"""Groups of the trainer that it keeps, see ``chat.bounds``."""

MIB = 1 << 20
GIB = 1 << 30


class Limits(BaseModel):
    """Bounds on what a client can drive. Errors name the field, e.g. ``limits.commit_nbytes``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_nbytes: int = Field(200 * GIB, description="Largest file, bytes.")
    commit_nbytes: int = Field(256 * MIB, description="Body of one commit request, bytes.")
    commit_line_nbytes: int = Field(16 * MIB, description="One ndjson line of a commit, bytes.")
    commit_operations: int = Field(25_000, description="Operations in one commit.")
    inline_file_nbytes: int = Field(
        10 * MIB, description="One file carried inside a commit, bytes."
    )
    message_nbytes: int = Field(64 << 10, description="Commit message, bytes.")
    json_nbytes: int = Field(2 * MIB, description="Body of any other JSON request, bytes.")
    json_depth: int = Field(64, description="Nesting of any JSON we read.")
    preupload_files: int = Field(1_000, description="Files in one preupload or LFS batch.")
    paths_info: int = Field(2_000, description="Paths in one paths-info request.")
    header_nbytes: int = Field(
        25_000_000, description="safetensors or GGUF header; beyond it the file is stored opaque."
    )
    header_inline_nbytes: int = Field(
        MIB, description="Headers beyond this are parsed in a killable subprocess."
    )
    tensors_per_file: int = Field(262_144, description="Beyond it the file is stored opaque.")
    xorb_nbytes: int = Field(64 * MIB + 2 * MIB, description="One xorb, bytes with chunk headers.")
    xorb_chunks: int = Field(8 * 1024, description="Chunks in one xorb.")
    shard_nbytes: int = Field(64 * MIB, description="One Xet shard, bytes.")
    shard_files: int = Field(25_000, description="Files in one Xet shard.")
    lfs_multipart_nbytes: int = Field(
        5 * GIB, description="LFS files beyond this are uploaded in parts by clients that can."
    )
    lfs_part_nbytes: int = Field(64 * MIB, description="One part of such an upload, bytes.")
    scan_nbytes: int = Field(
        4 * GIB, description="Pickles beyond this are not scanned, and marked so, bytes."
    )
    upload_nbytes_s: int = Field(
        1024, ge=0, description="Slowest upload, bytes a second; what is slower is given up."
    )
    download_nbytes_s: int = Field(
        1024,
        ge=0,
        description="Slowest download, bytes a second, over some minutes; what is slower is given "
        "up.",
    )
    regular_nbytes: int = Field(
        10 * MIB, description="Files from this size on go through LFS or Xet, not into the commit."
    )
    git_request_nbytes: int = Field(
        16 * MIB, description="What a git client says when it fetches, bytes."
    )
    push_nbytes: int = Field(
        2 * GIB, description="One git push, bytes, as sent and once more unpacked; LFS not counted."
    )
    push_objects: int = Field(250_000, description="Objects in one git push.")
    push_refs: int = Field(1_000, description="Branches and tags changed by one git push.")
    tree_files: int = Field(1_000_000, description="Files in one commit that git pushes.")
    tuning_jobs: int = Field(
        100, ge=1, description="Fine-tuning jobs of one account that are not over."
    )
    tuning_file_nbytes: int = Field(
        512 * MIB, description="One file to fine-tune on, uploaded to /v1/files, bytes."
    )
    http_head_nbytes: int = Field(16 << 10, description="Headers of one request, bytes.")
    url_nbytes: int = Field(8 << 10, description="URL of one request, bytes.")
    path_nbytes: int = Field(1024, description="A path in a repository, bytes.")
    path_part_nbytes: int = Field(255, description="One part of such a path, bytes.")
    path_parts: int = Field(32, description="Parts of such a path.")
    path_backslashes: bool = Field(
        False,
        description="Take names with backslashes, as other hubs have them. To Windows these are "
        "directories, and a name like x\\..\\..\\y leads out of the one it is downloaded to.",
    )


class Rates(BaseModel):
    """Requests in a window of time, per token or, without one, per address; 0: no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: float = Field(300, gt=0, description="The window, seconds.")
    api: int = Field(60_000, ge=0, description="Requests to /api, /v1 and to git, with a token.")
    api_anonymous: int = Field(6_000, ge=0, description="The same without one.")
    resolvers: int = Field(240_000, ge=0, description="Requests for bytes of files, with a token.")
    resolvers_anonymous: int = Field(24_000, ge=0, description="The same without one.")
    pages: int = Field(6_000, ge=0, description="Pages, with a token.")
    pages_anonymous: int = Field(1_200, ge=0, description="The same without one.")
    failures: int = Field(200, ge=0, description="Wrong tokens from one address.")
    in_flight: int = Field(256, ge=1, description="Requests of one caller at the same time.")
    uploads: int = Field(128, ge=1, description="Uploads among them.")
    downloads: int = Field(192, ge=1, description="Downloads among them.")
    redis_url: SecretStr | None = Field(
        None,
        description="Redis that counts for all processes together; default: each for itself, so "
        "that n processes let through up to n times as much.",
    )


class Quotas(BaseModel):
    """What accounts and repositories may have unless they were given more or less."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    account_nbytes: int | None = Field(
        None, ge=1, description="Logical bytes of a user's or organisation's repositories."
    )
    account_files: int | None = Field(None, ge=1, description="Versions of files in them.")
    account_repos: int | None = Field(None, ge=1, description="How many repositories.")
    repo_nbytes: int | None = Field(None, ge=1, description="Logical bytes of one repository.")
    repo_files: int | None = Field(None, ge=1, description="Versions of files in one repository.")
    proposed_nbytes: int | None = Field(
        100 * GIB,
        ge=1,
        description="Bytes that a user may have in pull requests to repositories of others.",
    )


class Timers(BaseModel):
    """Grace periods, seconds. Safety does not depend on them; convenience does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intent_s: float = Field(24 * 3600, description="Life of a pending object without progress.")
    lease_s: float = Field(24 * 3600, description="Hold on a freshly uploaded file.")
    condemn_s: float = Field(24 * 3600, description="Age before unreferenced bytes are condemned.")
    kill_s: float = Field(24 * 3600, description="Time from condemned to deleted.")
    replaced_s: float = Field(24 * 3600, description="Life of an object after it was replaced.")
    plan_s: float = Field(600, description="Life of a restore plan before it is made anew.")
    presign_s: float = Field(600, description="Life of a presigned URL.")
    head_s: float = Field(
        60, gt=0, description="Time for the head of a request; who takes longer is answered 408."
    )
    upload_idle_s: float = Field(60, description="Silence after which an upload is given up.")
    download_idle_s: float = Field(
        300,
        gt=0,
        description="An answer of which a client takes nothing for that long is given up.",
    )
    upload_url_s: float = Field(3600, description="Life of an upload URL.")
    unknown_s: float = Field(
        7 * 24 * 3600,
        description="Life of an object that is found in the store and not in the database.",
    )
    xorb_s: float = Field(
        22 * 24 * 3600,
        description="Life of a xorb that is not wholly held by files; clients remember theirs for "
        "three weeks.",
    )
    scrub_s: float = Field(
        30 * 24 * 3600, description="Within this time every stored object is read and judged again."
    )
    job_lease_s: float = Field(60, description="Life of a job's lease without a heartbeat.")
    tuning_lease_s: float = Field(
        60, gt=0, description="Life of a trainer's lease of a fine-tuning job without a report."
    )


class Jobs(BaseModel):
    """Background work."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threads: int = Field(1, description="Runner threads in the server (embedded mode); 0: none.")
    broker_url: SecretStr | None = Field(
        None, description="Redis or AMQP URL: jobs go to Celery workers instead of threads."
    )
    max_attempts: int = Field(8, description="Failures after which a job is given up.")
    finished_kept_s: float = Field(
        7 * 24 * 3600,
        ge=24 * 3600,
        description="How long finished jobs stay in the list, seconds.",
    )
    scrub_nbytes: int = Field(
        64 * GIB, ge=1, description="Stored bytes that the scrubber reads per hour at most."
    )
    optimise_nbytes: int = Field(64 * GIB, ge=0, description="Raw bytes optimised per hour.")
    optimise_cpu_s: float = Field(1200, ge=0, description="CPU seconds for it per hour; 0: off.")
    sweep_s: float = Field(
        15, description="How often Celery workers look for jobs whose message was lost, seconds."
    )


class Settings(BaseSettings):
    """Settings of one hub."""

    model_config = SettingsConfigDict(
        env_prefix="CLADE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Field(Path("data"), description="Directory of the embedded database and objects.")
    database_url: SecretStr | None = Field(
        None,
        description="postgresql://… or sqlite:///…; default: hub.sqlite in the data directory.",
    )
    store_url: str | None = Field(
        None,
        pattern="^(s3|file|memory)://",
        description="s3://bucket/prefix?endpoint=http://host:port&region=…, file:///dir or "
        "memory://; default: objects/ in the data directory.",
    )
    s3_access_key: SecretStr | None = Field(None, description="Default: boto3's own chain.")
    s3_secret_key: SecretStr | None = Field(None, description="Default: boto3's own chain.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[A-Za-z0-9._~-]+)*/?$",
        description="Base of URLs in answers, with its path prefix if it has one; default: the "
        "name and scheme that the client used.",
    )
    trusted_proxies: str = Field(
        "127.0.0.1,::1",
        description="Addresses and networks, joined by commas, whose X-Forwarded-* headers are "
        "believed; *: everyone's.",
    )
    metrics_from: str = Field(
        "127.0.0.1,::1",
        description="Addresses and networks, joined by commas, that may read /metrics without an "
        "administrator's token; *: everyone. It tells of all repositories together.",
    )
    verify_upload: Literal["readback", "off"] = Field(
        "readback", description="Read every uploaded object back before it is acknowledged."
    )
    default_branch: str = Field("main", description="Branch of a new repository.")
    dedup: Literal["namespace", "hub"] = Field(
        "namespace",
        description="Where bytes sent to private and gated repositories may be found stored "
        "already: in their own namespace and what is public, or anywhere (saves more, and tells "
        "its users by time and size what others store).",
    )
    force_push: Literal["none", "branches", "all"] = Field(
        "branches",
        description="Where git may push commits that do not follow the present ones: nowhere, on "
        "all branches but the default one, or on that as well. Tags count as branches.",
    )
    restore_threads: int = Field(2, description="Threads that fetch and decode per process.")
    restore_window_nbytes: int = Field(
        32 * MIB, description="Decoded bytes held ahead of one download."
    )
    audit_kept_s: float = Field(
        400 * 24 * 3600, ge=24 * 3600, description="How long the audit log remembers, seconds."
    )
    upstream: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[A-Za-z0-9._~-]+)*/?$",
        description="Another hub, e.g. https://huggingface.co: what is asked for and not here is "
        "fetched from it and kept. See docs/mirror.md.",
    )
    log_level: str = Field("INFO", description="Level of the structured log.")
    log_requests: bool = Field(
        False, description="Log a line for every request: path, status, seconds, bytes, client."
    )
    log_json: bool = Field(False, description="Log JSON lines instead of text.")
    limits: Limits = Limits()  # pyright: ignore[reportCallIssue]
    timers: Timers = Timers()  # pyright: ignore[reportCallIssue]
    rates: Rates = Rates()  # pyright: ignore[reportCallIssue]
    quotas: Quotas = Quotas()  # pyright: ignore[reportCallIssue]
    jobs: Jobs = Jobs()  # pyright: ignore[reportCallIssue]
    tuning: Tuning = Tuning()  # pyright: ignore[reportCallIssue]
    mirror: Mirror = Mirror()  # pyright: ignore[reportCallIssue]

    @field_validator("trusted_proxies", "metrics_from")
    @classmethod
    def check_networks(cls, text: str) -> str:
        """A misspelt network must not leave a proxy unheard unnoticed."""
        parse_networks(text)
        return text

    @model_validator(mode="after")
    def check_upstream(self) -> Self:
        """A token must not cross a network in the clear, and a hub not ask itself."""
        if self.upstream is None:
            if self.mirror.token is not None:
                raise ValueError("mirror.token: there is no upstream to use it with")
            return self
        parts = urlsplit(self.upstream)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if self.mirror.token is not None and parts.scheme == "http" and not local:
            raise ValueError("mirror.token: it would be sent in the clear; use an https upstream")
        if self.public_url and self.public_url.rstrip("/") == self.upstream.rstrip("/"):
            raise ValueError("upstream: that is this hub itself (public_url)")
        return self

    @model_validator(mode="after")
    def check_names(self) -> Self:
        """A misspelt variable must not leave a default in force unnoticed."""
        known = {name.upper() for name in type(self).model_fields} | OTHERS
        for name in os.environ:
            top = name.removeprefix("CLADE_").partition("__")[0]
            if name.startswith("CLADE_") and top.upper() not in known:
                raise ValueError(unknown_setting(name))
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database URL with the embedded default filled in."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data.absolute() / 'hub.sqlite'}"

    @property
    def resolved_store_url(self) -> str:
        """The store URL with the embedded default filled in."""
        return self.store_url or (self.data.absolute() / "objects").as_uri()


def unknown_setting(name: str) -> str:
    """What to say of a variable that is no setting: the known one that is nearest."""
    near = get_close_matches(name.upper(), list(_variables("CLADE_", Settings)), 1, 0.8)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name} is no setting of the hub{hint}"


def _variables(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """Names of the environment variables that set the fields of ``model``."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _variables(f"{prefix}{name.upper()}__", kind)
        else:
            yield prefix + name.upper()
