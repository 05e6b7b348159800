"""One weight matrix under ZenFlow: its important columns on the device, the rest on the host."""

import torch

from training.optim.adamw import AdamwRows, Rates, hand_over
from training.optim.link import Link
from training.optim.traffic import Traffic
from training.optim.window import Window


class Matrix:
    """Splits every gradient by column between the two owners of a parameter.

    The parameter is looked at as ``[out, in]``, leading dimensions folded into ``out`` (stacked
    experts). Each owner keeps its columns as rows, one after the other, so that all that is done
    with them is one kernel over contiguous memory.
    """

    def __init__(self, parameter: torch.nn.Parameter, link: Link, traffic: Traffic) -> None:
        self.parameter = parameter
        self.link = link
        self.traffic = traffic
        self.width = parameter.shape[-1]
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        values = link.to_host(self._columns(parameter.detach()), link.mark()).to(dtype)
        self.host = AdamwRows(values.clone(memory_format=torch.contiguous_format))
        self.device = AdamwRows(torch.empty(0, values.shape[1], dtype=dtype, device=link.device))
        self._own(torch.empty(0, dtype=torch.long))
        self.windows = (Window(dtype), Window(dtype))
        """The rest's gradients: one is filled while the other is worked off."""
        self.neglected = 0.0
        """Magnitude per element that the rest's gradients have added up to in this window."""
        self.attended = 0.0
        """Mean over the window's steps of the same for the chosen columns."""

    @property
    def host_nbytes(self) -> int:
        """Masters, moments and gradients of the rest, at most until now."""
        return self.host.nbytes + sum(window.most_nbytes for window in self.windows)

    @property
    def device_nbytes(self) -> int:
        """Masters and moments of the chosen, and what comes back of the rest."""
        share = len(self.rest) / self.width
        return self.device.nbytes + round(share * self.parameter.nbytes)

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that it goes on from, by name; not copies. The host is at rest."""
        owners = {"host": self.host, "device": self.device}
        sums = {f"window.{number}": window.sum() for number, window in enumerate(self.windows)}
        return {
            **{
                f"{who}.{key}": t for who, rows in owners.items() for key, t in rows.state().items()
            },
            "chosen": self.chosen,
            **{name: total for name, total in sums.items() if total is not None},
            "num_deferred": torch.tensor([window.count for window in self.windows]),
            "weighed": torch.tensor([self.neglected, self.attended], dtype=torch.float64),
        }

    def fits(self, state: dict[str, torch.Tensor]) -> bool:
        """Whether a state is one of a parameter of this shape."""
        needed = {f"{who}.{name}" for who in ("host", "device") for name in self.host.state()}
        if not needed | {"chosen", "num_deferred", "weighed"} <= state.keys():
            return False
        rows, own = (state[f"{who}.values"] for who in ("host", "device"))
        length = self.host.values.shape[1]
        is_whole = len(rows) + len(own) == self.width and len(own) == len(state["chosen"])
        return is_whole and rows.shape[1:] == own.shape[1:] == (length,)

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state` gave. The parameter itself is the caller's."""
        for who, rows in (("host", self.host), ("device", self.device)):
            rows.load({name: state[f"{who}.{name}"] for name in rows.state()})
        self._own(state["chosen"].clone())
        for number, count in enumerate(state["num_deferred"].tolist()):
            if count:
                self.windows[number].load(state[f"window.{number}"].clone(), count)
        self.neglected, self.attended = state["weighed"].tolist()

    def choose(self, count: int, betas: tuple[float, float]) -> None:
        """Let the device own the ``count`` columns whose gradients are largest now.

        Score: the sum of magnitudes per column. Between windows only, with the host at rest.
        """
        best = self._magnitudes().topk(count).indices.sort().values
        had = {"host": self.rest, "device": self.chosen}
        owners = {"host": self.host, "device": self.device}
        self._own(self.link.to_host(best, self.link.mark()))
        has = {"host": self.rest, "device": self.chosen}
        self.host, self.device = (owners[who].like(len(has[who])) for who in has)
        for giver, source in owners.items():
            place = torch.full((self.width,), -1)
            place[had[giver]] = torch.arange(len(had[giver]))
            for taker, target in (("host", self.host), ("device", self.device)):
                rows = place[has[taker]]
                spots = (rows >= 0).nonzero()[:, 0]
                hand_over(source, rows[spots], target, spots, betas)
                if giver != taker:
                    self.traffic.selection_nbytes += 3 * len(spots) * target.values[:1].nbytes

    def update_chosen(self, rates: Rates, found_inf: torch.Tensor | None = None) -> None:
        """AdamW on the device's columns with this step's gradient, unless ``found_inf``."""
        if not len(self.chosen):
            return
        grads = self._gradient()[self._chosen_there].to(self.device.values.dtype)
        self.device.update(grads, rates, found_inf)
        values = self.device.values.to(self.parameter.dtype)
        self._columns(self.parameter.data)[self._chosen_there] = values

    def deferred(self) -> torch.Tensor:
        """What of this step's gradient is the host's, apart: ``[rest, out]`` on the device."""
        return self._gradient()[self._rest_there]

    def weigh(self, step_of_window: int) -> None:
        """Note how much of this step's gradient was put off, per element (Zen-auto)."""
        magnitudes = self.link.to_host(self._magnitudes(), self.link.mark())
        attended = float(magnitudes[self.chosen].mean()) if len(self.chosen) else 0.0
        self.attended += (attended - self.attended) / step_of_window
        self.neglected += float(magnitudes[self.rest].mean()) if len(self.rest) else 0.0

    @property
    def wants_update(self) -> bool:
        """Whether what was put off weighs as much as what was not."""
        return self.neglected >= self.attended

    def update_host(self, window: int, rates: Rates, room: torch.Tensor) -> None:
        """AdamW on the host's columns with the mean gradient of a window. On the host's thread."""
        if self.windows[window].count:
            self.host.update_by(self.windows[window].means(room), rates)

    def publish(self, arrived: torch.Tensor) -> None:
        """Let the device see what the host made of its columns, ``[rest, out]`` on the device."""
        self._columns(self.parameter.data)[self._rest_there] = arrived
        self.link.seen(arrived)

    def _own(self, chosen: torch.Tensor) -> None:
        """Let these columns, ascending, be the device's, and all others the host's."""
        is_rest = torch.ones(self.width, dtype=torch.bool)
        is_rest[chosen] = False
        self.chosen, self.rest = chosen, torch.arange(self.width)[is_rest]
        self._chosen_there = self.chosen.to(self.link.device)
        self._rest_there = self.rest.to(self.link.device)

    def _magnitudes(self) -> torch.Tensor:
        """Sum of the gradient's magnitudes per column."""
        return self._gradient().abs().sum(dim=1, dtype=torch.float32)

    def _gradient(self) -> torch.Tensor:
        """A row per column."""
        assert self.parameter.grad is not None
        return self.parameter.grad.reshape(-1, self.width).t()

    def _columns(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of a tensor of the parameter's shape, a row per column; writes go through."""
        return tensor.view(-1, self.width).t()
