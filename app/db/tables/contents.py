"""What is stored: files, their segments, the contents behind them and where the bytes lie.

    file (sha256) = segment* in order;  segment -> content (BLAKE3);  content -> one encoding;
    encoding -> (object, start, nbytes) and, for a delta, the base content.

Bytes live in objects whose keys are unique and never reused; identity lives here.
"""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import BigKey, PrimaryKey, Table


class StoredObject(Table):
    """An immutable blob in the object store, as a state machine.

    pending: the row precedes the first byte (an intent); ``expires_at`` is set.
    live: durable and read back; only live objects are referenced by encodings, xorbs and parts.
    retired: nothing refers to it (a tombstone); deleted from the store after ``not_before``. Until
    ``doomed_at`` is set it may become live again.
    The row goes when the bytes are gone. Publishing needs the row to be pending still: that is the
    fence which stops a writer that was given up on.
    """

    __tablename__ = "object"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'live', 'retired')", name="state"),
        Index("ix_object_state_expires", "state", "expires_at"),
        Index("ix_object_state_not_before", "state", "not_before"),
        Index("ix_object_state_verified_at", "state", "verified_at"),
    )

    id: Mapped[PrimaryKey]
    key: Mapped[str] = mapped_column(
        String(128).with_variant(String(128, collation="C"), "postgresql"), unique=True
    )
    """``o/<epoch>/<uuid>``; staging keys are ``s/<epoch>/<uuid>``. In the order of bytes."""
    purpose: Mapped[str] = mapped_column(String(16))
    """upload | pack | xorb | part | unknown (found in the store without a row)"""
    state: Mapped[str] = mapped_column(String(8), default="pending")
    nbytes: Mapped[int] = mapped_column(default=0)
    """Stored size; 0 while pending."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """Set while pending: after this the intent may be collected."""
    not_before: Mapped[datetime | None]
    """Set once retired: no reader's plan can name the object after this."""
    doomed_at: Mapped[datetime | None]
    """Set once its deletion from the store has begun: from here on there is no way back."""
    attempts: Mapped[int] = mapped_column(default=0)
    """Failed deletions so far."""
    verified_at: Mapped[datetime | None]
    """When all its bytes were last read and judged; at first when it was begun."""


class File(Table):
    """The bytes of one file, known by SHA-256 within a dedup domain."""

    __tablename__ = "file"
    __table_args__ = (
        CheckConstraint("state IN ('live', 'condemned')", name="state"),
        CheckConstraint("health IN ('ok', 'damaged')", name="health"),
        UniqueConstraint("domain", "sha256"),
        Index("ix_file_sha256", "sha256"),
        Index("ix_file_state_condemned", "state", "condemned_at"),
    )

    id: Mapped[PrimaryKey]
    domain: Mapped[int] = mapped_column(default=0, server_default="0")
    """Whose bytes they are, see ``app.accounts.domains``: 0 everybody's, else an account's."""
    sha256: Mapped[bytes]
    size: Mapped[int]
    git_oid: Mapped[str | None] = mapped_column(String(40))
    """Git blob id of the bytes; null for files too big to be regular git blobs."""
    format: Mapped[str] = mapped_column(String(16))
    """safetensors | gguf | opaque"""
    warning: Mapped[str | None]
    """Why a file that looks like safetensors or GGUF is stored as opaque bytes; null otherwise."""
    state: Mapped[str] = mapped_column(String(12), default="live")
    condemned_at: Mapped[datetime | None]
    health: Mapped[str] = mapped_column(String(8), default="ok")
    created_at: Mapped[datetime]


class Content(Table):
    """Bytes stored once in a dedup domain: a tensor, a chunk or a literal, known by digest.

    Shape and dtype belong to the segment: the same bytes under another shape are the same content.
    """

    __tablename__ = "content"
    __table_args__ = (
        CheckConstraint("state IN ('live', 'condemned')", name="state"),
        CheckConstraint("health IN ('ok', 'damaged')", name="health"),
        UniqueConstraint("domain", "digest"),
        Index("ix_content_state_condemned", "state", "condemned_at"),
    )

    id: Mapped[PrimaryKey]
    domain: Mapped[int] = mapped_column(default=0, server_default="0")
    """As that of a file; files of every domain may hold contents of domain 0."""
    digest: Mapped[bytes]
    """Content id of 33 bytes, see ``app.digest``."""
    nbytes: Mapped[int]
    """Raw bytes."""
    state: Mapped[str] = mapped_column(String(12), default="live")
    condemned_at: Mapped[datetime | None]
    health: Mapped[str] = mapped_column(String(8), default="ok")
    last_verified_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Segment(Table):
    """A run of a file and the content it holds."""

    __tablename__ = "segment"
    __table_args__ = (
        CheckConstraint("role IN ('tensor', 'chunk', 'literal')", name="role"),
        Index("ix_segment_content", "content_id"),
    )

    file_id: Mapped[int] = mapped_column(
        ForeignKey("file.id", ondelete="CASCADE"), primary_key=True
    )
    start: Mapped[int] = mapped_column(BigKey, primary_key=True, autoincrement=False)
    """Offset in the file; segments are contiguous, never empty, and cover it."""
    nbytes: Mapped[int]
    content_id: Mapped[int] = mapped_column(ForeignKey("content.id", ondelete="RESTRICT"))
    role: Mapped[str] = mapped_column(String(8))
    name: Mapped[str | None]
    """Tensor name; null for chunks and literals."""
    dtype: Mapped[str | None] = mapped_column(String(16))
    """safetensors dtype name (GGUF: ggml type name); null for chunks and literals."""
    shape: Mapped[str | None]
    """JSON list of dimensions; null for chunks and literals."""


class Encoding(Table):
    """How and where a content is stored now. Exactly one per content."""

    __tablename__ = "encoding"
    __table_args__ = (
        UniqueConstraint("content_id"),
        Index("ix_encoding_base", "base_id"),
        Index("ix_encoding_object", "object_id"),
        Index("ix_encoding_encoder", "encoder"),
    )

    id: Mapped[PrimaryKey]
    content_id: Mapped[int] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"))
    codec: Mapped[str] = mapped_column(String(8))
    """raw (bytes as they are, no frame) or a frame codec: RAW, ZSTD, PLANE, BITX, …"""
    base_id: Mapped[int | None] = mapped_column(ForeignKey("content.id", ondelete="RESTRICT"))
    """Content the frame is a delta against; itself always stored without a base. Null otherwise."""
    object_id: Mapped[int] = mapped_column(ForeignKey("object.id", ondelete="RESTRICT"))
    start: Mapped[int]
    """Offset in the object."""
    nbytes: Mapped[int]
    """Stored bytes."""
    checks: Mapped[bytes]
    """16-byte BLAKE3 of every started MiB of the stored bytes, see ``app.digest``."""
    final: Mapped[bool] = mapped_column(default=False)
    """False while the bytes still lie as they were uploaded and wait for the encoder."""
    encoder: Mapped[int] = mapped_column(default=0)
    """Generation of the encoder that decided on this form, see ``app.deltas.coding``."""
    created_at: Mapped[datetime]


class FormerEncoding(Table):
    """An encoding that was replaced and whose object still exists: readable, and a spare copy."""

    __tablename__ = "former_encoding"
    __table_args__ = (
        Index("ix_former_encoding_content", "content_id"),
        Index("ix_former_encoding_object", "object_id"),
    )

    id: Mapped[PrimaryKey]
    content_id: Mapped[int] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"))
    codec: Mapped[str] = mapped_column(String(8))
    base_id: Mapped[int | None] = mapped_column(BigKey)
    """No foreign key: a former encoding pins nothing."""
    object_id: Mapped[int] = mapped_column(ForeignKey("object.id", ondelete="CASCADE"))
    start: Mapped[int]
    nbytes: Mapped[int]
    checks: Mapped[bytes]
    replaced_at: Mapped[datetime]


class FileGrant(Table):
    """Proof of possession: somebody with write access to the repository sent these very bytes."""

    __tablename__ = "file_grant"
    __table_args__ = (Index("ix_file_grant_file", "file_id"),)

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    file_id: Mapped[int] = mapped_column(
        ForeignKey("file.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[datetime]


class ProposedFile(Table):
    """Proof of possession of one account that may not write: it sent these bytes for a proposal.

    Nobody else may name the file by it: see ``possessed_file_clause``.
    """

    __tablename__ = "proposed_file"
    __table_args__ = (
        Index("ix_proposed_file_account", "account_id"),
        Index("ix_proposed_file_file", "file_id"),
    )

    repo_id: Mapped[int] = mapped_column(
        ForeignKey("repo.id", ondelete="CASCADE"), primary_key=True
    )
    account_id: Mapped[int] = mapped_column(
        ForeignKey("account.id", ondelete="CASCADE"), primary_key=True
    )
    file_id: Mapped[int] = mapped_column(
        ForeignKey("file.id", ondelete="CASCADE"), primary_key=True
    )
    created_at: Mapped[datetime]


class Lease(Table):
    """Holds a file or a content so that garbage collection leaves it alone until expiry."""

    __tablename__ = "lease"
    __table_args__ = (
        CheckConstraint("(file_id IS NULL) <> (content_id IS NULL)", name="target"),
        Index("ix_lease_file", "file_id"),
        Index("ix_lease_content", "content_id"),
        Index("ix_lease_expires", "expires_at"),
    )

    id: Mapped[PrimaryKey]
    file_id: Mapped[int | None] = mapped_column(ForeignKey("file.id", ondelete="CASCADE"))
    content_id: Mapped[int | None] = mapped_column(ForeignKey("content.id", ondelete="CASCADE"))
    owner: Mapped[str] = mapped_column(String(64))
    """Who holds it: ``job:<id>``, ``upload:<uuid>``."""
    expires_at: Mapped[datetime]


class Sketch(Table):
    """A positional sample of a tensor: predicts delta sizes without reading tensors."""

    __tablename__ = "sketch"
    __table_args__ = (Index("ix_sketch_shape", "shape_key", "content_id"),)

    content_id: Mapped[int] = mapped_column(
        ForeignKey("content.id", ondelete="CASCADE"), primary_key=True
    )
    shape_key: Mapped[str] = mapped_column(String(64))
    """``{dtype}:{elements}``: sketches are comparable when equal."""
    data: Mapped[bytes]
