"""Tensors of a checkpoint to parameters of a model, by transformers' own renaming and conversion.

One parameter may be made of several tensors (experts that are stacked): those belong together and
are called a unit. A model may be running: nothing but the named parameters is touched.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils import logging

from serving.weights.header import BadCheckpoint


class Placer:
    """Places tensors into one model."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._mapping = _loadable(get_model_conversion_mapping(model))

    def units(self, names: Iterable[str]) -> dict[str, list[str]]:
        """The tensors that make each parameter, by its name; tensors of no parameter are left out.

        Raises BadCheckpoint if a parameter has none.
        """
        renamings = [each for each in self._mapping if isinstance(each, WeightRenaming)]
        converters = [each for each in self._mapping if isinstance(each, WeightConverter)]
        parameters = self._model.state_dict()
        prefix = self._model.base_model_prefix
        units: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            target, _ = rename_source_key(name, renamings, converters, prefix, parameters)
            if target not in parameters and name in parameters:
                target = name
            if target in parameters:
                units[target].append(name)
        self._check(units)
        return dict(units)

    def place(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Make parameters of whole units; a tensor may become the parameter itself.

        Raises BadCheckpoint if one does not fit.
        """
        model = self._model
        with _no_bar():
            told, _ = convert_and_load_state_dict_in_model(
                model,
                dict(tensors),
                LoadStateDictConfig(
                    dtype=model.dtype,
                    device_map={"": model.device},
                    weight_mapping=_loadable(get_model_conversion_mapping(model)),
                ),
            )
        if told.mismatched_keys or told.conversion_errors or told.error_msgs:
            wrong = sorted(str(each) for each in told.mismatched_keys) or told.error_msgs
            raise BadCheckpoint(f"weights do not fit the configuration: {wrong or told}")

    def finish(self) -> None:
        """After the last tensor: parameters that share a tensor share it again."""
        self._model.tie_weights()
        self._model.requires_grad_(requires_grad=False)

    def _check(self, units: Mapping[str, list[str]]) -> None:
        tied = set(getattr(self._model, "all_tied_weights_keys", None) or {})
        buffers = {name for name, _ in self._model.named_buffers()}
        missing = set(self._model.state_dict()) - set(units) - tied - buffers
        if missing:
            raise BadCheckpoint(
                f"{len(missing)} parameters have no weights, {min(missing)} among them"
            )


@contextmanager
def _no_bar() -> Iterator[None]:
    """Transformers draws a bar for every layer."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _loadable(mapping: Iterable[object]) -> list[WeightConverter | WeightRenaming]:
    return [each for each in mapping if isinstance(each, WeightConverter | WeightRenaming)]
