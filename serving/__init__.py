"""The inference tier: hub models behind an OpenAI endpoint, with objectives met or refused."""
