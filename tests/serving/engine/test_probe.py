import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from serving.engine.attention import UnservableModel
from serving.engine.kv import KvShape
from serving.engine.probe import longest_context, probe
from tests.fixtures.tiny_models import tiny_model


def test_shapes_are_those_of_the_layers() -> None:
    assert probe(tiny_model()) == [KvShape(2, 8, 8)] * 3


def test_recurrent_models_are_refused() -> None:
    config = AutoConfig.for_model(
        "mamba", vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4
    )
    with pytest.raises(UnservableModel):
        probe(AutoModelForCausalLM.from_config(config).eval())


def test_chunked_attention_is_refused() -> None:
    model = tiny_model()
    model.config.layer_types = ["chunked_attention"] * 3
    with pytest.raises(UnservableModel, match="chunked_attention"):
        probe(model)


def test_windows_that_layers_do_not_tell_are_refused() -> None:
    model = tiny_model()
    model.config.layer_types = ["sliding_attention"] * 3
    with pytest.raises(UnservableModel, match="window"):
        probe(model)


def test_logits_that_differ_are_refused() -> None:
    model = tiny_model()

    def noise(_module, _args, kwargs, output):
        return output + kwargs["position_embeddings"][0].sum() * ("paged" in kwargs)

    model.model.layers[1].register_forward_hook(noise, with_kwargs=True)
    with pytest.raises(UnservableModel, match="logits"):
        probe(model)


def test_rotary_embeddings_that_grow_bound_the_context() -> None:
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    model = tiny_model(rope_parameters=rope | {"original_max_position_embeddings": 64})

    assert longest_context(model.config) == 64
    assert longest_context(tiny_model().config) == 256
    assert torch.isfinite(next(model.parameters())).all()
