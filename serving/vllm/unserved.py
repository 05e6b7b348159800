"""What vLLM can do and our scheduler cannot: refused where the engine starts, with the way out."""

from typing import Any


class Unserved(ValueError):
    """vLLM was started with something that this scheduler would schedule wrongly."""


def check_served(config: Any, has_recurrent_layers: bool) -> None:
    """Look at vLLM's configuration. Raises Unserved."""
    unserved = {
        "speculative decoding (--speculative-config)": config.speculative_config is not None,
        "transfer of KV blocks (--kv-transfer-config)": config.kv_transfer_config is not None,
        "transfer of encoder outputs (--ec-transfer-config)": config.ec_transfer_config is not None,
        "models with recurrent layers": has_recurrent_layers,
        "pooling models": config.model_config.runner_type == "pooling",
        "diffusion models": config.model_config.is_diffusion,
        "encoder-decoder models": config.model_config.is_encoder_decoder,
    }
    asked = [name for name, is_asked in unserved.items() if is_asked]
    if asked:
        raise Unserved(
            f"ScorpioScheduler does not schedule {', '.join(asked)}; start vLLM without, or "
            "without --scheduler-cls"
        )
