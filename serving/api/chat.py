"""``POST /v1/chat/completions``."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from serving.api.answering import Choice, respond
from serving.api.bodies import ChatBody
from serving.api.deps import ServiceDep
from serving.api.errors import ApiError, bad_params
from serving.api.service import Asked
from serving.api.text import Prompts
from serving.engine.output import TokenOutput
from serving.engine.params import BadParams

router = APIRouter()


class ChatShape:
    """Messages of the assistant, and log probabilities as a list of tokens."""

    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts

    def opening(self, choice: int) -> dict[str, Any]:
        """Who speaks."""
        delta = {"role": "assistant", "content": ""}
        return {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, choice: Choice, output: TokenOutput) -> dict[str, Any]:
        """One token's text."""
        return {
            "index": choice.number,
            "delta": {"content": output.text} if output.text else {},
            "logprobs": self._logprobs([output]),
            "finish_reason": output.finish,
            "stop_reason": output.stopped_by,
        }

    def whole(self, choice: Choice) -> dict[str, Any]:
        """The message."""
        return {
            "index": choice.number,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self._logprobs(choice.outputs),
            **choice.ending,
        }

    def _logprobs(self, outputs: list[TokenOutput]) -> dict[str, Any] | None:
        if not outputs or outputs[0].logprobs is None:
            return None
        content: list[dict[str, Any]] = []
        for output in outputs:
            assert output.logprobs is not None
            top = [self._token(token, logprob) for token, logprob in output.logprobs.top]
            own = self._token(output.token, output.logprobs.logprob)
            content.append({**own, "top_logprobs": top})
        return {"content": content, "refusal": None}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._prompts.token(token)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


@router.post("/v1/chat/completions")
async def chat(request: Request, body: ChatBody, service: ServiceDep) -> Response:
    """Answer a chat."""
    body.refuse(tools=None, functions=None, tool_choice="none", audio=None, modalities=["text"])
    if body.response_format not in (None, {"type": "text"}):
        raise ApiError(400, "only text answers are supported", param="response_format")
    service.adapter_of(body.model)
    prompts = service.served.prompts
    options = {"add_generation_prompt": body.add_generation_prompt}
    if body.continue_final_message:
        options |= {"add_generation_prompt": False, "continue_final_message": True}
    messages = [message.as_template_input() for message in body.messages]
    prompt = await asyncio.to_thread(
        prompts.encode_chat, messages, body.chat_template_kwargs, **options
    )
    room = service.room_for(len(prompt))
    wanted = body.max_completion_tokens or body.max_tokens
    try:
        asked = [
            Asked(
                prompt=prompt,
                params=body.params(
                    max_tokens=room if wanted is None else wanted,
                    logprobs=body.wanted_logprobs,
                    defaults=dict(service.served.sampling_defaults),
                    choice=choice,
                ),
            )
            for choice in range(body.n)
        ]
    except BadParams as error:
        raise bad_params(error) from error
    return await respond(request, service, body, asked, ChatShape(prompts))
