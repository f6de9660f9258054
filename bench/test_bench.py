"""The same cases under pytest-benchmark: ``pytest bench --benchmark-only``.

Here all contenders share one process and its default number of threads; `python -m bench` keeps them apart.
"""

import pytest

from bench import cases, grid
from bench.agree import check
from bench.contenders import CONTENDERS, OWN
from bench.worker import Far, computed
from rnnfast.threads import get_num_threads

CASES = [case for case in grid.SHORT if case.callers == 1]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_case(benchmark, case, name):
    run, read = CONTENDERS[name].prepare(case, cases.make_data(case), get_num_threads())
    check(name, computed(case, run, read), Far("reference", get_num_threads()).truth(case), case.dtype)
    benchmark.group = case.name
    benchmark(run)
