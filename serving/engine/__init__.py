"""The engine: continuous batching over paged KV on any decoder-only model transformers builds."""
