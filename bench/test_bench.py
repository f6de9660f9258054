"""The same cases under pytest-benchmark: ``pytest bench --benchmark-only``.

Here all contenders share one process and its default number of threads; `python -m bench` keeps them apart.
"""

import pytest

from bench import cases, grid
from bench.agree import check
from bench.contenders import CONTENDERS
from rnnfast.threads import get_num_threads


@pytest.mark.parametrize("name", ["native", "reference"])
@pytest.mark.parametrize("case", grid.SHORT, ids=lambda case: case.name.replace(" ", "-"))
def test_case(benchmark, case, name):
    data = cases.make_data(case)
    run, read = CONTENDERS[name].prepare(case, data, get_num_threads())
    slow, read_slow = CONTENDERS["reference"].prepare(case, data, get_num_threads())
    check(name, read(run()), read_slow(slow()), case.dtype)
    benchmark.group = case.name
    benchmark(run)
