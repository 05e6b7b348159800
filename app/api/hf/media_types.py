"""What a file of a repository is declared as: pictures, plain text, or just bytes."""

from pathlib import PurePosixPath

IMAGES = {
    ".avif": "image/avif",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""Not SVG: it can hold scripts."""

TEXTS = frozenset(
    {".cfg", ".csv", ".html", ".ini", ".jinja", ".js", ".json", ".jsonl", ".log", ".md", ".py"}
    | {".rst", ".sh", ".svg", ".toml", ".tsv", ".txt", ".xml", ".yaml", ".yml"}
)


def media_type_of(name: str) -> str:
    """The media type to send with a file of this name; nothing here is ever run by a browser."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in IMAGES:
        return IMAGES[suffix]
    if suffix in TEXTS or name in {".gitattributes", ".gitignore", "LICENSE", "README"}:
        return "text/plain; charset=utf-8"
    return "application/octet-stream"
