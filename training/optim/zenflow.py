"""The ZenFlow optimizer: important columns at once on the device, the rest behind on the host."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.optim import Optimizer

from training.optim.adamw import AdamwRows, Rates
from training.optim.matrix import Matrix
from training.optim.options import ZenFlowOptions
from training.optim.traffic import Traffic

COUNTERS = ("num_steps", "window_steps", "filling", "select_at", "is_unpublished")


class ZenFlow(Optimizer):
    """AdamW whose state lies on the host, without the device waiting for it (arXiv 2505.12242).

    Parameters of two and more dimensions are split by column, see :class:`Matrix`; others are
    updated on the device as a whole. ``max_grad_norm``: gradients are scaled so that their norm
    over all parameters is no larger; before they are split, so both parts alike. With
    ``update_interval=1``, ``overlap_step=False`` and no deferred rate it is AdamW, bit for bit.

    Between windows nothing is lost: :meth:`state_dict` may be called after any step, and a run that
    goes on from it ends where the uninterrupted one does (with ``deterministic``, bit for bit).

    One stream and no autocast scaling: gradients must be finite, or the step be left out. A step
    that the host's thread failed in raises what it raised. Call :meth:`close` when done.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        max_grad_norm: float | None = None,
        options: ZenFlowOptions | None = None,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.options = options or ZenFlowOptions()
        self.max_grad_norm = max_grad_norm
        self.traffic = Traffic()
        self.num_steps = 0
        self.window_steps = 0
        """Steps whose gradients are in the window that is being filled."""
        self.filling = 0
        """Which of the two windows that is."""
        self.select_at = self.options.full_warm_up_rounds
        """First step that may choose columns anew."""
        self.is_unpublished = False
        """Whether the host has worked off a window that the device has not seen."""
        self._host = ThreadPoolExecutor(1, thread_name_prefix="zenflow-host")
        self._working: Future[None] | None = None
        self._matrices: list[tuple[dict[str, Any], Matrix]] = []
        self._wholes: list[tuple[dict[str, Any], torch.nn.Parameter, AdamwRows]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                self._take(group, parameter)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step with the gradients at hand; parameters without one are left as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.max_grad_norm is not None:
            parameters = [p for group in self.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        if self.window_steps == 0 and self.num_steps >= self.select_at:
            self._choose()
        for group, parameter, rows in self._wholes:
            if parameter.grad is not None:
                rows.update(parameter.grad.reshape(1, -1).to(rows.values.dtype), _rates(group))
                parameter.copy_(rows.values.view_as(parameter))
        self.window_steps += 1
        for group, matrix in self._matrices:
            if matrix.parameter.grad is not None:
                matrix.update_chosen(_rates(group))
                matrix.defer_rest(self.filling)
                if self.options.update_interval == "auto":
                    matrix.weigh(self.window_steps)
        if self._is_window_full():
            self._close_window()
        elif not self.options.deterministic and self._working and self._working.done():
            self._publish()
        self.num_steps += 1
        return loss

    def drain(self) -> None:
        """Wait for the host and let the device see its work. Gradients of an open window stay."""
        with torch.no_grad():
            self._publish()

    def flush(self) -> None:
        """At the end of a run: the gradients of an open window take effect, too."""
        with torch.no_grad():
            if self.window_steps:
                self._close_window()
            self._publish()

    def close(self) -> None:
        """Drain, and end the host's thread."""
        self.drain()
        self._host.shutdown()

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from after any step, once the host is at rest.

        ``state``: tensors by flat names, fit for safetensors; ``param_groups``: hyperparameters.
        """
        self._wait()
        counters = [int(getattr(self, name)) for name in COUNTERS]
        state = {"counters": torch.tensor(counters)}
        for number, (_, matrix) in enumerate(self._matrices):
            state |= {f"matrix.{number}.{name}": t for name, t in matrix.state().items()}
        for number, (_, _, rows) in enumerate(self._wholes):
            state |= {f"whole.{number}.{name}": t for name, t in rows.state().items()}
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`, for the same parameters holding the same values.

        Raises ValueError if the state is of other parameters; then nothing is changed.
        """
        state: dict[str, torch.Tensor] = state_dict["state"]
        self._wait()
        expected = self.state_dict()["state"]
        for name, tensor in expected.items():
            there = state.get(name)
            is_free = ".device." in name or name.endswith(".chosen")
            if there is None or (not is_free and there.shape != tensor.shape):
                raise ValueError(f"the state is of other parameters: {name}")
        for name, value in zip(COUNTERS, state["counters"].tolist(), strict=True):
            setattr(self, name, value)
        for number, (_, matrix) in enumerate(self._matrices):
            matrix.load(_below(state, f"matrix.{number}."))
        for number, (_, _, rows) in enumerate(self._wholes):
            rows.load(_below(state, f"whole.{number}."))
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(loaded)

    def _take(self, group: dict[str, Any], parameter: torch.nn.Parameter) -> None:
        if parameter.ndim >= 2 and parameter.numel():
            self._matrices.append((group, Matrix(parameter, self.traffic)))
            return
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        values = parameter.detach().reshape(1, -1).to(dtype, copy=True)
        self._wholes.append((group, parameter, AdamwRows(values)))

    def _choose(self) -> None:
        self._publish()
        for group, matrix in self._matrices:
            if matrix.parameter.grad is not None:
                matrix.choose(int(self.options.topk_ratio * matrix.width), group["betas"])
        self.select_at = self.num_steps + self.options.select_interval

    def _is_window_full(self) -> bool:
        interval = self.options.update_interval
        if self.num_steps < self.options.full_warm_up_rounds:
            return True
        if interval != "auto":
            return self.window_steps == interval
        votes = [matrix.wants_update for _, matrix in self._matrices]
        return sum(votes) >= self.options.auto_ratio * len(votes)

    def _close_window(self) -> None:
        """Let the device see the last window, and the host have this one."""
        self._publish()
        window = self.filling
        work: list[tuple[Matrix, Rates]] = []
        for group, matrix in self._matrices:
            rate = self.options.window_rate(group["lr"], self.window_steps)
            work.append((matrix, _rates(group, rate)))
            matrix.neglected = matrix.attended = 0.0
        self._working = self._host.submit(_update_host, work, window)
        self.is_unpublished = True
        self.filling, self.window_steps = 1 - window, 0
        if self.num_steps < self.options.full_warm_up_rounds or not self.options.overlap_step:
            self._publish()

    def _publish(self) -> None:
        self._wait()
        if self.is_unpublished:
            for _, matrix in self._matrices:
                matrix.publish()
            self.is_unpublished = False

    def _wait(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.result()


def _update_host(work: list[tuple[Matrix, Rates]], window: int) -> None:
    with torch.no_grad():
        for matrix, rates in work:
            matrix.update_host(window, rates)


def _rates(group: dict[str, Any], lr: float | None = None) -> Rates:
    return Rates(
        lr=float(group["lr"]) if lr is None else lr,
        betas=group["betas"],
        eps=group["eps"],
        weight_decay=group["weight_decay"],
    )


def _below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
