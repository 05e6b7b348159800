"""The floor of the API latency bench: the same framework and server answering a constant."""

from fastapi import FastAPI

app = FastAPI()


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST"])
def answer(path: str) -> dict[str, str]:
    """Answer anything with the same few bytes."""
    return {"name": "constant"}
