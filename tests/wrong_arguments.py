"""What hardly any argument takes, and how a refusal must look."""

import numpy as np

from rnnfast.layers import Cell

WRONG = (None, "x", -1, 1.5, float("nan"), True, object(), [1, "a"], np.ones(2), Cell)


def check_refusals(function, good, argument, *, wrong=WRONG, least=4, either=False):
    """Call a function with wrong values in the place of one argument.

    Parameters
    ----------
    function : callable
    good : dict
        Arguments that fit.
    argument : str
        The one to replace. Whatever is refused must be refused by a typed error that names it, or be a file that
        is not there.
    wrong : sequence
        What to replace it by.
    least : int
        How many of these must be refused.
    either : bool
        Whether the error may name another argument: where two do not fit together, either may be wrong.
    """
    refused = 0
    for value in wrong:
        try:
            function(**{**good, argument: value})
        except (TypeError, ValueError, IndexError, KeyError) as error:
            refused += 1
            names = good if either else [argument]
            assert any(name in str(error) for name in names), f"{argument}={value!r}: {error!r}"
        except OSError as error:
            assert error.filename == value, f"{argument}={value!r}: {error!r}"
    assert refused >= least, f"{argument} takes nearly everything"
