"""What vLLM runs in each of its processes: the load format ``clade`` and addresses ``hub://``.

vLLM 0.32 takes a plugin's load formats but not its addresses: ``s3://``, ``gs://`` and ``az://``
are written into it, and its table of redirected names is a file. So what becomes of ``--model`` is
widened here, for addresses of ours alone, to do what vLLM does for those: the small files are put
into a directory, which is the model from then on, and the address is kept for the loader.
"""
# pyright: reportMissingImports=false

from functools import cache, wraps
from typing import Any

from serving.vllm.source import BadSource, Source, is_address

LOAD_FORMAT = "clade"


@cache
def register() -> None:
    """The entry point ``vllm.general_plugins``."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import register_model_loader

    from serving.vllm.loader import HubLoader

    register_model_loader(LOAD_FORMAT)(HubLoader)
    create = EngineArgs.create_engine_config

    @wraps(create)
    def resolved(arguments: Any, *args: Any, **kwargs: Any) -> Any:
        resolve(arguments)
        return create(arguments, *args, **kwargs)

    EngineArgs.create_engine_config = resolved


def resolve(arguments: Any) -> None:
    """Replace addresses in vLLM's ``EngineArgs`` by what vLLM can read; once done, it stays.

    Raises BadSource, ClientError.
    """
    address = arguments.model
    if is_address(address):
        if arguments.load_format not in {"auto", LOAD_FORMAT}:
            raise BadSource(
                f"{address} is loaded by --load-format {LOAD_FORMAT}, not {arguments.load_format}"
            )
        commit, directory = _source(arguments, address, arguments.revision).pull()
        arguments.load_format = LOAD_FORMAT
        arguments.model_weights = address
        arguments.served_model_name = arguments.served_model_name or address
        arguments.model, arguments.revision = str(directory), commit
        if arguments.tokenizer == address:
            arguments.tokenizer = None
    if is_address(arguments.tokenizer):
        source = _source(arguments, arguments.tokenizer, arguments.tokenizer_revision)
        arguments.tokenizer = str(source.pull()[1])


def _source(arguments: Any, address: Any, revision: str | None) -> Source:
    token = arguments.hf_token if isinstance(arguments.hf_token, str) else None
    return Source.of(address, revision, arguments.model_loader_extra_config, token=token)
