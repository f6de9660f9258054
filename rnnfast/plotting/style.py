"""Axes, colours and small habits that all pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito 2008, "Color universal design": told apart with any kind of colour vision; the order suits the ground.
ON_LIGHT = ("#0072B2", "#D55E00", "#CC79A7", "#009E73", "#E69F00", "#56B4E9")
ON_DARK = ("#56B4E9", "#E69F00", "#00B98A", "#CC79A7", "#F0E442", "#E8702A")


def axes(ax: Any, size: tuple[float, float]) -> Any:
    """Return ``ax``, or the axes of a new figure of that size in inches.

    Raises
    ------
    ImportError
        If matplotlib is not there.
    TypeError
        If ``ax`` is no axes.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    except ImportError:
        raise ImportError("rnnfast.plotting needs matplotlib: pip install 'rnnfast[plot]'") from None
    if ax is None:
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
    elif not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib axes; got {type(ax).__name__}")
    return ax


def colours(ax: Any) -> Sequence[str]:
    """Return the colours that suit the ground of the axes."""
    return ON_LIGHT if lightness(ax.get_facecolor()) > 0.5 else ON_DARK


def lightness(colour: Any) -> float:
    """Return how light a colour is, 0 to 1, as the eye sees it (relative luminance, its root for evenness)."""
    from matplotlib.colors import to_rgb

    channels = np.asarray(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(np.sqrt(linear @ (0.2126, 0.7152, 0.0722)))


def on(colour: Any) -> str:
    """Return black or white, whichever can be read on a colour."""
    return "black" if lightness(colour) > 0.45 else "white"


def tidy(ax: Any, grid: str | None = "y") -> None:
    """Take away the frame where it says nothing, and draw faint lines to read values by."""
    ax.spines[["top", "right"]].set_visible(False)
    if grid is not None:
        ax.grid(True, axis=grid, alpha=0.25, linewidth=0.8)
        ax.set_axisbelow(True)


def legend_above(ax: Any) -> None:
    """Draw a legend in one row over the axes, for pictures that have no free corner."""
    handles, _ = ax.get_legend_handles_labels()
    spacing = {"columnspacing": 1.2, "handletextpad": 0.5, "borderaxespad": 0.2}
    ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(handles), **spacing)


def legend(ax: Any) -> None:
    """Draw a legend without a frame where there is more than one thing to name."""
    handles, _ = ax.get_legend_handles_labels()
    if len(handles) > 1:
        ax.legend(frameon=False)
