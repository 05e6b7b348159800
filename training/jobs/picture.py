"""The curve of a job as a picture."""

from pathlib import Path

from training.jobs.track import Curve

SMOOTHING = 0.9
"""Of the line that is drawn over the single losses."""


def draw(curve: Curve, title: str, path: Path) -> None:
    """Losses over steps, and the learning rate below, into a PNG."""
    from matplotlib.figure import Figure

    rows = [row for row in curve.steps if row["skipped"] is None]
    steps, losses = [row["step"] for row in rows], [row["loss"] for row in rows]
    figure = Figure(figsize=(8, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    above.plot(steps, losses, color="0.75", linewidth=0.8, label="training, each step")
    above.plot(steps, _smooth(losses), color="#1f4e9c", linewidth=1.8, label="training, smoothed")
    if curve.evaluations:
        above.plot(
            [row["step"] for row in curve.evaluations],
            [row["valid_loss"] for row in curve.evaluations],
            color="#d62728",
            marker="o",
            markersize=3,
            label="validation",
        )
    above.set(title=title, ylabel="loss, nats per token")
    above.grid(alpha=0.25)
    above.legend(frameon=False)
    below.plot(steps, [row["lr"] for row in rows], color="0.4", linewidth=1)
    below.set(xlabel="step", ylabel="rate")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _smooth(losses: list[float]) -> list[float]:
    """A moving average that is not drawn towards 0 at its beginning."""
    smooth: list[float] = []
    total, weight = 0.0, 0.0
    for loss in losses:
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        weight = SMOOTHING * weight + (1 - SMOOTHING)
        smooth.append(total / weight)
    return smooth
