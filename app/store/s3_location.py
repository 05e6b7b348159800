"""Where in S3 a hub keeps its objects: the parts of an ``s3://`` URL."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, a prefix in it, and the server that has it."""

    bucket: str
    prefix: str = ""
    """Empty or ending in a slash."""
    endpoint: str | None = None
    """Null for AWS."""
    public_endpoint: str | None = None
    """Where clients reach the server, for presigned URLs; null if they use ``endpoint`` too."""
    region: str | None = None
    """Null for what boto3's own chain says."""

    @classmethod
    def parse(cls, url: str) -> "S3Location":
        """``s3://bucket/prefix?endpoint=…&public_endpoint=…&region=…``; ValueError otherwise."""
        parsed = urlsplit(url)
        options = dict(parse_qsl(parsed.query, strict_parsing=bool(parsed.query)))
        unknown = options.keys() - {"endpoint", "public_endpoint", "region"}
        if parsed.scheme != "s3" or not parsed.netloc or unknown:
            raise ValueError(f"not an S3 URL: {url!r} {sorted(unknown) or ''}".rstrip())
        prefix = parsed.path.strip("/")
        return cls(
            bucket=parsed.netloc,
            prefix=f"{prefix}/" if prefix else "",
            endpoint=options.get("endpoint"),
            public_endpoint=options.get("public_endpoint"),
            region=options.get("region"),
        )
