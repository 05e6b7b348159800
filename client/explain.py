"""Tell what a repository stores, what holds what, and what removing something would free."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from client.errors import BadAnswer, ClientError
from client.hub import HubClient, RepoName
from client.progress import format_nbytes

INDENT = "  "


def explain_command(
    repo: Annotated[str, typer.Argument(help="owner/name, or datasets/owner/name.")],
    ref: Annotated[
        str | None, typer.Option(help="What deleting this branch or tag would free.")
    ] = None,
    squash: Annotated[
        str | None, typer.Option(help="What squashing this branch would free.")
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="What taking this big file out of history would free.")
    ] = None,
    rebase: Annotated[
        bool, typer.Option("--rebase", help="Plan better bases, too; for administrators.")
    ] = False,
    tensors: Annotated[
        str | None, typer.Option(help="Show the tensors of this file instead.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Of the file: branch, tag or commit.")] = "main",
    endpoint: Annotated[
        str, typer.Option(envvar="HF_ENDPOINT", help="The hub's address.")
    ] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(envvar="HF_TOKEN", help="Access token.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a repository stores, what holds what, and what removing it would free."""
    named = RepoName.parse(repo)
    removals = {"ref": ref, "squash": squash, "file": file}
    chosen = {kind: target for kind, target in removals.items() if target is not None}
    if len(chosen) > 1 or (chosen and tensors is not None):
        raise typer.BadParameter("one of --ref, --squash, --file and --tensors at a time")
    kind, target = next(iter(chosen.items()), ("repo", ""))
    try:
        with HubClient(endpoint, token=token) as hub:
            if tensors is None:
                answer = hub.explain(named, without=kind, target=target, rebase=rebase)
            else:
                answer = hub.explain_file(named, revision, tensors)
        lines = list(_tensor_lines(answer) if tensors is not None else _repo_lines(answer))
    except (KeyError, TypeError) as error:
        raise _failed(BadAnswer(f"the hub's answer lacks {error}")) from error
    except ClientError as error:
        raise _failed(error) from error
    sys.stdout.write((json.dumps(answer) if as_json else "\n".join(lines)) + "\n")


def _failed(error: ClientError) -> typer.Exit:
    sys.stderr.write(f"clade: {error}\n")
    return typer.Exit(1)


def _repo_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    without = answer["without"]
    yield f"{answer['id']}: {answer['files']} versions of files"
    yield from _table(
        ("logical", answer["logical_bytes"]),
        ("stored", answer["stored_bytes"]),
        ("of which others hold", answer["shared_bytes"]),
    )
    yield from _links("its tensors are deltas against", answer["bases"])
    yield from _links("deltas against its tensors", answer["dependents"])
    if answer["rebase_predicted"] is not None:
        yield "the optimiser would save:"
        yield from _table(("around its tensors (predicted)", answer["rebase_predicted"]))
    yield f"without {_what(without)}, {without['files']} versions of files:"
    rows = [
        ("freed", without["freed_bytes"]),
        ("kept: the rest of the repository needs it", without["kept_bytes"]),
        ("kept: other repositories hold it", without["shared_bytes"]),
        ("kept: others' deltas need it", without["pinned_bytes"]),
        ("freed anyway: cut off before", without["waiting_bytes"]),
    ]
    bucket = without["bucket"]
    if bucket is not None:
        rows += [
            ("the bucket, at the next collection", bucket["at_once"]),
            ("the bucket, after repacking", bucket["after_repacking"]),
            ("the bucket, after handing bases over (predicted)", bucket["handover_predicted"]),
            ("holes too small to repack", bucket["holes"]),
            ("in objects that uploads may still name", bucket["held_by_uploads"]),
        ]
    yield from _table(*(row for row in rows if row[1] or row[0] == "freed"))
    yield from _links("deltas that keep its bases", without["pinned_by"])


def _what(without: Mapping[str, Any]) -> str:
    match without["kind"]:
        case "repo":
            return "the repository"
        case "squash":
            return f"the history behind {without['target']}"
        case _:
            return str(without["target"])


def _links(title: str, links: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not links:
        return
    yield f"{title}:"
    names = [_name(link) for link in links]
    width = max(map(len, names))
    for name, link in zip(names, links, strict=True):
        tensors = f"{link['tensors']} tensor{'s' if link['tensors'] != 1 else ''}"
        yield f"{INDENT}{name:<{width}}  {tensors:>12}  {format_nbytes(link['stored_bytes']):>10}"


def _name(link: Mapping[str, Any]) -> str:
    if link["repo"] is None:
        return "(bases that no repository shows any more)"
    return link["repo"] if link["type"] == "model" else f"{link['type']}s/{link['repo']}"


def _table(*rows: tuple[str, int]) -> Iterator[str]:
    width = max(len(label) for label, _ in rows)
    for label, nbytes in rows:
        yield f"{INDENT}{label:<{width}}  {format_nbytes(nbytes):>10}  {nbytes:>17,}"


def _tensor_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"{answer['id']}@{answer['commit'][:7]}: {answer['path']}"
    parts = answer["tensors"]
    names = [part["name"] or f"({part['role']})" for part in parts]
    width = max(map(len, names), default=0)
    for name, part in zip(names, parts, strict=True):
        stored, logical = (format_nbytes(part[f"{which}_bytes"]) for which in ("stored", "logical"))
        said = [
            f"{INDENT}{name:<{width}}  {stored:>10} of {logical:>10}  {part['without_repo']:<6}"
        ]
        if part["base"] is not None:
            said.append(f"against {_name(part['base'])}")
        if part["holders"]:
            said.append("also in " + ", ".join(map(_name, part["holders"])))
        if part["dependents"]:
            said.append("base for " + ", ".join(map(_name, part["dependents"])))
        yield "; ".join([said[0].rstrip(), *said[1:]])
