"""What a request must be for an engine to take it; told before it waits for anything."""

from serving.engine.params import BadParams
from serving.engine.runner import Runner
from serving.engine.sequence import Request


class TooLong(BadParams):
    """Prompt and answer together exceed what the model or the KV pool can hold."""


def check_request(request: Request, runner: Runner, *, has_decoder: bool) -> None:
    """Whether an engine with this model can serve it at all. Raises BadParams, TooLong."""
    if not request.prompt:
        raise BadParams("prompt", "the prompt is empty")
    vocabulary = runner.vocabulary
    named = (*request.prompt, *request.params.logit_bias, *request.params.stop_token_ids)
    if any(not 0 <= token < vocabulary for token in named):
        raise BadParams("prompt", f"token ids are between 0 and {vocabulary - 1}")
    if request.adapter is not None and request.adapter not in runner.adapters.names:
        raise BadParams("model", f"the adapter {request.adapter} is not served any more")
    if request.params.stop and not has_decoder:
        raise BadParams("stop", "stop strings need a tokenizer, and this model has none")
    wanted = len(request.prompt) + request.params.max_tokens
    if wanted > runner.longest:
        raise TooLong(
            "max_tokens",
            f"{len(request.prompt)} tokens of prompt and up to {request.params.max_tokens} of "
            f"answer are {wanted}, and at most {runner.longest} are possible; shorten the prompt "
            "or ask for fewer",
        )
