"""Which fields of a repo ``expand`` may name, and which come unasked.

The names are those of ``ExpandModelProperty_T`` and its siblings in huggingface_hub.
"""

from collections.abc import Sequence

from app.catalog.naming import RepoType
from app.errors import InvalidRequest

_EVERY_REPO = (
    *("author", "cardData", "createdAt", "disabled", "lastModified", "likes", "private"),
    *("resourceGroup", "sha", "siblings", "tags", "trendingScore", "usedStorage"),
    "xetEnabled",
)
EXPANDABLE: dict[RepoType, frozenset[str]] = {
    "model": frozenset(
        [
            *_EVERY_REPO,
            *("baseModels", "childrenModelCount", "config", "downloads", "downloadsAllTime"),
            *("evalResults", "gated", "gguf", "inference", "inferenceProviderMapping"),
            *("library_name", "mask_token", "model-index", "pipeline_tag", "safetensors"),
            *("spaces", "transformersInfo", "widgetData"),
        ]
    ),
    "dataset": frozenset(
        [
            *_EVERY_REPO,
            *("citation", "description", "downloads", "downloadsAllTime", "gated", "mainSize"),
            "paperswithcode_id",
        ]
    ),
    "space": frozenset(
        [*_EVERY_REPO, *("datasets", "models", "region", "runtime", "sdk", "subdomain")]
    ),
}

LISTING_FIELDS = frozenset({"siblings", "mainSize", "gguf"})
"""Fields that need the list of files."""

FILE_FIELDS = frozenset({"tags", "safetensors", "library_name", "baseModels", "mask_token"})
"""Fields that need the list of files, unless they were written down for the commit."""

_COMMON = (
    *("author", "createdAt", "disabled", "gated", "lastModified"),
    *("likes", "private", "sha", "tags"),
)
LISTED: dict[RepoType, tuple[str, ...]] = {
    "model": (*_COMMON, "downloads", "trendingScore", "pipeline_tag", "library_name"),
    "dataset": (*_COMMON, "downloads", "trendingScore"),
    "space": (*_COMMON, "trendingScore", "sdk"),
}
SHOWN: dict[RepoType, tuple[str, ...]] = {
    "model": (
        *(*_COMMON, "downloads", "pipeline_tag", "library_name", "cardData", "config"),
        *("model-index", "widgetData", "transformersInfo", "mask_token", "spaces", "gguf"),
        *("safetensors", "usedStorage", "siblings"),
    ),
    "dataset": (*_COMMON, "downloads", "cardData", "usedStorage", "siblings"),
    "space": (
        *(*_COMMON, "cardData", "usedStorage", "siblings", "sdk", "subdomain", "runtime"),
        *("models", "datasets"),
    ),
}


def check_expand(repo_type: RepoType, wanted: Sequence[str]) -> Sequence[str]:
    """Return ``wanted``; InvalidRequest, with what there is, for a field that does not exist."""
    for place, name in enumerate(wanted):
        if name not in EXPANDABLE[repo_type]:
            known = "|".join(f'"{each}"' for each in sorted(EXPANDABLE[repo_type]))
            raise InvalidRequest(
                f"✖ Invalid option: expected one of {known}\n  → at expand[{place}]"
            )
    return wanted
