"""One weight matrix under ZenFlow: its important columns on the device, the rest on the host."""

import torch

from training.optim.adamw import AdamwRows, Rates, hand_over
from training.optim.traffic import Traffic


class Matrix:
    """Splits every gradient by column between the two owners of a parameter.

    The parameter is looked at as ``[out, in]``, leading dimensions folded into ``out`` (stacked
    experts). The host keeps all columns as rows ``[in, out]``, so that its update is one kernel
    over contiguous memory; rows of columns that the device owns are computed along and mean
    nothing.
    """

    def __init__(self, parameter: torch.nn.Parameter, traffic: Traffic) -> None:
        self.parameter = parameter
        self.traffic = traffic
        self.width = parameter.shape[-1]
        dtype = torch.promote_types(parameter.dtype, torch.float32)
        values = self._columns(parameter.detach()).to(dtype).cpu().contiguous()
        self.host = AdamwRows(values)
        self.device = AdamwRows(values[:0].to(parameter.device))
        self.chosen = torch.empty(0, dtype=torch.long)
        """Columns that the device owns, ascending."""
        self.rest = torch.arange(self.width)
        """Columns that the host owns, ascending."""
        self.windows = [torch.zeros_like(values), torch.zeros_like(values)]
        """Sums of the rest's gradients: one is filled while the other is worked off."""
        self.num_deferred = [0, 0]
        """Gradients that each of them is the sum of."""
        self.outbox = values.to(parameter.dtype, copy=True)
        """The host's columns as the device will see them, written by the host's update."""
        self.neglected = 0.0
        """Magnitude per element that the rest's gradients have added up to in this window."""
        self.attended = 0.0
        """Mean over the window's steps of the same for the chosen columns."""

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that it goes on from, by name; not copies. The host is at rest."""
        owners = {"host": self.host, "device": self.device}
        return {
            **{
                f"{who}.{name}": t
                for who, rows in owners.items()
                for name, t in rows.state().items()
            },
            "chosen": self.chosen,
            "window.0": self.windows[0],
            "window.1": self.windows[1],
            "num_deferred": torch.tensor(self.num_deferred),
            "outbox": self.outbox,
            "weighed": torch.tensor([self.neglected, self.attended], dtype=torch.float64),
        }

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from what :meth:`state` gave. The parameter itself is the caller's."""
        for who, rows in (("host", self.host), ("device", self.device)):
            rows.load({name: state[f"{who}.{name}"] for name in rows.state()})
        self.chosen = state["chosen"].clone()
        is_rest = torch.ones(self.width, dtype=torch.bool)
        is_rest[self.chosen] = False
        self.rest = torch.arange(self.width)[is_rest]
        for window, kept in enumerate(self.windows):
            kept.copy_(state[f"window.{window}"])
        self.num_deferred = state["num_deferred"].tolist()
        self.outbox.copy_(state["outbox"])
        self.neglected, self.attended = state["weighed"].tolist()

    def choose(self, count: int, betas: tuple[float, float]) -> None:
        """Let the device own the ``count`` columns whose gradients are largest now.

        Score: the sum of magnitudes per column. Between windows only, with the host at rest.
        """
        chosen = self._magnitudes().topk(count).indices.sort().values.cpu()
        is_chosen = torch.zeros(self.width, dtype=torch.bool)
        is_chosen[chosen] = True
        place = torch.full((self.width,), -1)
        place[self.chosen] = torch.arange(len(self.chosen))
        leaving = self.chosen[~is_chosen[self.chosen]]
        staying = chosen[place[chosen] >= 0]
        entering = chosen[place[chosen] < 0]
        owner = AdamwRows(self.host.values[chosen].to(self.device.values.device))
        owner.count = self.device.count.clone()
        spot = torch.full((self.width,), -1)
        spot[chosen] = torch.arange(len(chosen))
        hand_over(self.device, place[leaving], self.host, leaving, betas)
        hand_over(self.device, place[staying], owner, spot[staying], betas)
        hand_over(self.host, entering, owner, spot[entering], betas)
        self.device, self.chosen, self.rest = owner, chosen, torch.arange(self.width)[~is_chosen]
        self.outbox[leaving] = self.host.values[leaving].to(self.outbox.dtype)
        self.traffic.selection_nbytes += (
            3 * (len(leaving) + len(entering)) * owner.values[:1].nbytes
        )

    def update_chosen(self, rates: Rates) -> None:
        """AdamW on the device's columns with this step's gradient."""
        if not len(self.chosen):
            return
        columns = self.chosen.to(self.parameter.device)
        grads = self._gradient()[columns].to(self.device.values.dtype)
        self.device.update(grads, rates)
        self._columns(self.parameter.data)[columns] = self.device.values.to(self.parameter.dtype)

    def defer_rest(self, window: int) -> None:
        """Send the rest of this step's gradient to the host and add it up there."""
        columns = self.rest.to(self.parameter.device)
        sent = self._gradient()[columns].cpu()
        self.traffic.to_host_nbytes += sent.nbytes
        self.windows[window].index_add_(0, self.rest, sent.to(self.host.values.dtype))
        self.num_deferred[window] += 1

    def weigh(self, step_of_window: int) -> None:
        """Note how much of this step's gradient was put off, per element (Zen-auto)."""
        magnitudes = self._magnitudes().cpu()
        attended = float(magnitudes[self.chosen].mean()) if len(self.chosen) else 0.0
        self.attended += (attended - self.attended) / step_of_window
        self.neglected += float(magnitudes[self.rest].mean()) if len(self.rest) else 0.0

    @property
    def wants_update(self) -> bool:
        """Whether what was put off weighs as much as what was not."""
        return self.neglected >= self.attended

    def update_host(self, window: int, rates: Rates) -> None:
        """AdamW on the host's columns with the mean gradient of a window. On the host's thread."""
        if not self.num_deferred[window]:
            return
        grads = self.windows[window]
        grads /= self.num_deferred[window]
        self.host.update(grads, rates)
        self.outbox.copy_(self.host.values)
        grads.zero_()
        self.num_deferred[window] = 0

    def publish(self) -> None:
        """Let the device see what the host made of its columns."""
        sent = self.outbox[self.rest].to(self.parameter.device)
        self.traffic.to_device_nbytes += sent.nbytes
        self._columns(self.parameter.data)[self.rest.to(sent.device)] = sent

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
