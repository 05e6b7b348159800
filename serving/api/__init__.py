"""The HTTP front: OpenAI's API over one engine."""
