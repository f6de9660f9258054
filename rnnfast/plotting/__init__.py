"""Pictures with matplotlib: each function draws into ``ax=``, or into a new figure, and returns the axes.

Colours can be told apart with any kind of colour vision, and text takes its colour from the style in force, so that
pictures suit a light and a dark ground alike (``plt.style.use("dark_background")``).
"""

from rnnfast.plotting.bench import plot_benchmark
from rnnfast.plotting.curves import plot_forecast, plot_gradient_norms, plot_training
from rnnfast.plotting.maps import plot_attention, plot_confusion, plot_gates

__all__ = [
    "plot_attention",
    "plot_benchmark",
    "plot_confusion",
    "plot_forecast",
    "plot_gates",
    "plot_gradient_norms",
    "plot_training",
]
