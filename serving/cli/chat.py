"""Chat with a model that is being served, in the terminal."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape

TIMEOUT_S = 600.0


class ChatFailed(Exception):
    """No answer; the message says why."""


def chat(
    url: Annotated[str, typer.Argument(help="Address of the server.")] = "http://127.0.0.1:8001",
    model: Annotated[str | None, typer.Option(help="Default: the server's first.")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="CLADE_API_KEY", help="Its key.")] = None,
    system: Annotated[str | None, typer.Option(help="What the model is told first.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Default: the model's.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Of each answer.")] = None,
    seed: Annotated[int | None, typer.Option(help="For the same answers again.")] = None,
) -> None:
    """Chat with a model that is being served. Ctrl-C stops an answer, Ctrl-D ends."""
    console = Console(highlight=False)
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    options = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    messages: list[dict[str, str]] = []
    if system is not None:
        messages.append({"role": "system", "content": system})
    try:
        with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT_S) as http:
            model = model or first_model(http)
            console.print(f"[dim]{model}; Ctrl-C stops an answer, Ctrl-D ends[/dim]")
            while (said := _ask(console)) is not None:
                asked = [*messages, {"role": "user", "content": said}]
                try:
                    answer = _answer(http, {"model": model, "messages": asked, **_given(options)})
                except ChatFailed as error:
                    console.print(f"[red]{escape(str(error))}[/red]")
                    continue  # nothing was said, and the next word may do better
                messages = [*asked, {"role": "assistant", "content": answer}]
    except httpx.ConnectError as error:
        sys.stderr.write(f"clade: nothing answers at {url}; `clade infer` serves a model\n")
        raise typer.Exit(1) from error
    except (ChatFailed, httpx.HTTPError) as error:
        sys.stderr.write(f"clade: {error}\n")
        raise typer.Exit(1) from error


def first_model(http: httpx.Client) -> str:
    """The first model that a server serves. Raises ChatFailed."""
    answer = http.get("/v1/models")
    if answer.status_code != 200:
        raise ChatFailed(_message(answer.text))
    return str(answer.json()["data"][0]["id"])


def stream(http: httpx.Client, body: dict[str, Any]) -> Iterator[str]:
    """Text of an answer as it comes. Raises ChatFailed."""
    with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as answer:
        if answer.status_code != 200:
            raise ChatFailed(_message(answer.read().decode(errors="replace")))
        for line in answer.iter_lines():
            data = line.removeprefix("data: ")
            if not line.startswith("data: ") or data == "[DONE]":
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                raise ChatFailed(chunk["error"]["message"])
            for choice in chunk["choices"]:
                yield choice["delta"].get("content") or ""


def _ask(console: Console) -> str | None:
    try:
        while True:
            said = console.input("[bold]› [/bold]").strip()
            if said:
                return said
    except (EOFError, KeyboardInterrupt):
        console.print()
        return None


def _answer(http: httpx.Client, body: dict[str, Any]) -> str:
    text = ""
    try:
        for piece in stream(http, body):
            text += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" …")
    sys.stdout.write("\n")
    return text


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return text[:200] or "the server did not answer"
