"""``POST /v1/completions``."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from serving.api.answering import Choice, respond
from serving.api.bodies import CompletionBody
from serving.api.deps import ServiceDep
from serving.api.errors import ApiError, bad_params
from serving.api.service import Asked
from serving.api.text import Prompts
from serving.engine.output import TokenOutput
from serving.engine.params import BadParams

DEFAULT_MAX_TOKENS = 16
"""OpenAI's."""

router = APIRouter()


class CompletionShape:
    """Text, and log probabilities as parallel lists."""

    id_prefix = "cmpl-"
    whole_object = chunk_object = "text_completion"

    def __init__(self, prompts: Prompts, echoed: list[str]) -> None:
        self._prompts = prompts
        self._echoed = echoed
        """What precedes each choice."""

    def opening(self, choice: int) -> dict[str, Any] | None:
        """The prompt, if it is wanted back."""
        if not self._echoed[choice]:
            return None
        return {"index": choice, "text": self._echoed[choice], "finish_reason": None}

    def piece(self, choice: Choice, output: TokenOutput) -> dict[str, Any]:
        """One token's text."""
        return {
            "index": choice.number,
            "text": output.text,
            "logprobs": self._logprobs([output], self._start(choice) + len(choice.text)),
            "finish_reason": output.finish,
            "stop_reason": output.stopped_by,
        }

    def whole(self, choice: Choice) -> dict[str, Any]:
        """All of its text."""
        return {
            "index": choice.number,
            "text": self._echoed[choice.number] + choice.text,
            "logprobs": self._logprobs(choice.outputs, self._start(choice)),
            **choice.ending,
        }

    def _start(self, choice: Choice) -> int:
        return len(self._echoed[choice.number])

    def _logprobs(self, outputs: list[TokenOutput], offset: int) -> dict[str, Any] | None:
        if not outputs or outputs[0].logprobs is None:
            return None
        lists: dict[str, list[Any]] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }
        for output in outputs:
            assert output.logprobs is not None
            lists["tokens"].append(self._prompts.token(output.token))
            lists["token_logprobs"].append(output.logprobs.logprob)
            top = {self._prompts.token(token): each for token, each in output.logprobs.top}
            lists["top_logprobs"].append(top or None)
            lists["text_offset"].append(offset)
            offset += len(output.text)
        return lists


@router.post("/v1/completions")
async def complete(request: Request, body: CompletionBody, service: ServiceDep) -> Response:
    """Go on with one or more prompts."""
    body.refuse(best_of=body.n, suffix=None, prompt_logprobs=None)
    service.adapter_of(body.model)
    if body.echo and body.logprobs is not None:
        raise ApiError(400, "echo with logprobs is not supported", param="echo")
    prompts = service.served.prompts
    encoded = [await asyncio.to_thread(prompts.encode, prompt) for prompt in body.prompts]
    asked: list[Asked] = []
    for prompt in encoded:
        room = service.room_for(len(prompt))
        wanted = min(DEFAULT_MAX_TOKENS, room) if body.max_tokens is None else body.max_tokens
        asked += _choices(body, service, prompt, wanted)
    echoed = [prompts.text(each.prompt) if body.echo else "" for each in asked]
    shape = CompletionShape(prompts, echoed)
    return await respond(request, service, body, asked, shape, num_prompts=len(encoded))


def _choices(
    body: CompletionBody, service: ServiceDep, prompt: list[int], max_tokens: int
) -> list[Asked]:
    try:
        return [
            Asked(
                prompt=prompt,
                params=body.params(
                    max_tokens=max_tokens,
                    logprobs=body.logprobs,
                    defaults=dict(service.served.sampling_defaults),
                    choice=choice,
                ),
            )
            for choice in range(body.n)
        ]
    except BadParams as error:
        raise bad_params(error) from error
