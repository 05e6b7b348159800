"""The ZenFlow optimizer: important columns at once on the device, the rest behind on the host."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from training.optim.adamw import AdamwRows, Rates
from training.optim.host import Host
from training.optim.link import Link
from training.optim.matrix import Matrix
from training.optim.memory import Memory
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

    Nothing is waited for that could be done later: gradients leave the device while the next step
    computes, and what the host is done with lies ready on the device when its time comes, which
    takes as much of its memory as the rest of the gradients do. The host keeps up to eight steps'
    gradients before it is waited for. ``link``: the way between the two.

    No autocast scaling: gradients must be finite, or the step be left out, which the device may
    decide (:meth:`step`). What a thread of the host failed in is raised by the step that waits for
    it. Call :meth:`close` when done.
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
        link: Link | None = None,
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
        self._link = link or Link(self.param_groups[0]["params"][0].device)
        self._host = Host(self._link, self.traffic)
        self._matrices: list[tuple[dict[str, Any], Matrix]] = []
        self._wholes: list[tuple[dict[str, Any], torch.nn.Parameter, AdamwRows]] = []
        for group in self.param_groups:
            for parameter in group["params"]:
                self._take(group, parameter)

    @property
    def memory(self) -> Memory:
        """That this takes beside parameters and gradients."""
        matrices = [matrix for _, matrix in self._matrices]
        return Memory(
            host_nbytes=sum(matrix.host_nbytes for matrix in matrices),
            device_nbytes=sum(matrix.device_nbytes for matrix in matrices)
            + sum(rows.nbytes for _, _, rows in self._wholes),
        )

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        closure: Callable[[], float] | None = None,
        *,
        found_inf: torch.Tensor | None = None,
    ) -> float | None:
        """One step with the gradients at hand; parameters without one are left as they are.

        ``found_inf``, as torch's AdamW has it: a float32 on the device; unless it is 0, this step
        is as one without gradients. Nothing waits for it but a choice of columns, and "auto".
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.max_grad_norm is not None:
            parameters = [p for group in self.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        is_auto = self.options.update_interval == "auto"
        is_time = self.window_steps == 0 and self.num_steps >= self.select_at
        is_used = not (is_time or is_auto) or found_inf is None or not bool(found_inf)
        if is_time and is_used:
            self._choose()
        for group, parameter, rows in self._wholes:
            if parameter.grad is not None:
                grads = parameter.grad.reshape(1, -1).to(rows.values.dtype)
                rows.update(grads, _rates(group), found_inf)
                parameter.copy_(rows.values.view_as(parameter))
        self.window_steps += 1
        used = [each for each in self._matrices if each[1].parameter.grad is not None]
        for group, matrix in used:
            matrix.update_chosen(_rates(group), found_inf)
            if is_auto and is_used:
                matrix.weigh(self.window_steps)
        self._host.settle()
        is_left_out = None if found_inf is None else self._host.look(found_inf)
        for _, matrix in used:
            if len(matrix.rest):
                self._host.take(matrix, self.filling, is_left_out)
        if self._is_window_full():
            self._close_window()
        elif not self.options.deterministic and not self._host.is_working:
            self._publish()
        self.num_steps += 1
        return loss

    def drain(self) -> None:
        """Wait for the host and let the device see its work. Gradients of an open window stay."""
        self._host.rest()
        with torch.no_grad():
            self._publish()

    def flush(self) -> None:
        """At the end of a run: the gradients of an open window take effect, too."""
        with torch.no_grad():
            if self.window_steps:
                self._close_window()
        self.drain()

    def close(self) -> None:
        """Drain, and end the host's thread."""
        self.drain()
        self._host.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on from after any step, once the host is at rest.

        ``state``: tensors by flat names, fit for safetensors; ``param_groups``: hyperparameters.
        """
        self._host.rest()
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
        self._host.rest()
        own = [f"matrix.{number}." for number in range(len(self._matrices))]
        for prefix, (_, matrix) in zip(own, self._matrices, strict=True):
            if not matrix.fits(_below(state, prefix)):
                raise ValueError(f"the state is of other parameters: {prefix}")
        for number, (_, _, rows) in enumerate(self._wholes):
            there = state.get(f"whole.{number}.values")
            if there is None or there.shape != rows.values.shape:
                raise ValueError(f"the state is of other parameters: whole.{number}")
        self._host.finish()  # nobody is to see what this one had in work
        for name, value in zip(COUNTERS, state["counters"].tolist(), strict=True):
            setattr(self, name, value)
        for prefix, (_, matrix) in zip(own, self._matrices, strict=True):
            matrix.load(_below(state, prefix))
        for number, (_, _, rows) in enumerate(self._wholes):
            rows.load(_below(state, f"whole.{number}."))
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(loaded)
        if self.is_unpublished:
            self._host.send([matrix for _, matrix in self._matrices if len(matrix.rest)])

    def _take(self, group: dict[str, Any], parameter: torch.nn.Parameter) -> None:
        if parameter.ndim >= 2 and parameter.numel():
            self._matrices.append((group, Matrix(parameter, self._link, self.traffic)))
            return
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        values = parameter.detach().reshape(1, -1).to(dtype, copy=True)
        self._wholes.append((group, parameter, AdamwRows(values)))

    def _choose(self) -> None:
        self._host.rest()
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
        if self.window_steps >= self.options.select_interval:
            return True
        votes = [matrix.wants_update for _, matrix in self._matrices]
        return sum(votes) >= self.options.auto_ratio * len(votes)

    def _close_window(self) -> None:
        """Let the host have this window, and the device see the last one.

        In this order: the host goes on with the one when it is done with the other.
        """
        window = self.filling
        work: list[tuple[Matrix, Rates]] = []
        for group, matrix in self._matrices:
            if len(matrix.rest):
                rate = self.options.window_rate(group["lr"], self.window_steps)
                work.append((matrix, _rates(group, rate)))
            matrix.neglected = matrix.attended = 0.0
        self._host.work_off(work, window)
        self._publish()
        self.is_unpublished = True
        self.filling, self.window_steps = 1 - window, 0
        if self.num_steps < self.options.full_warm_up_rounds or not self.options.overlap_step:
            self._publish()

    def _publish(self) -> None:
        """Let the device see the oldest window that it has not seen."""
        if self.is_unpublished:
            for matrix, values in self._host.finish():
                matrix.publish(values)
            self.is_unpublished = False


def _rates(group: dict[str, Any], lr: float | None = None) -> Rates:
    return Rates(
        lr=float(group["lr"]) if lr is None else lr,
        betas=group["betas"],
        eps=group["eps"],
        weight_decay=group["weight_decay"],
    )


def _below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
