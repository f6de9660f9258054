"""One time step of a stack of layers at a time, the state and all buffers kept between calls.

A step of a small layer computes for about a microsecond, so what surrounds it counts: arguments that fit are recognised
by a few comparisons and everything else goes to `Steps._general`, which the Python side defines. Every recurrent
layer is a forward run of one step (unroll.pyx) that was set up beforehand; only the address of its rows changes. So it
is the code of whole sequences that runs, and the bits are theirs.

Released only for a step of some length, the GIL is what keeps two threads out of one stream; where it is released, a
flag does.
"""

import numpy as np

cimport numpy as cnp
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memset

from rnnfast._native.around cimport around_sizes, set_around
from rnnfast._native.dense cimport Panels, panels_for
from rnnfast._native.kernels cimport alloc, ops, parallel, release, rf_ops
from rnnfast._native.pack cimport Packed, packed_weights
from rnnfast._native.plan cimport NOW, RELEASE, Run, split, worth
from rnnfast._native.rows cimport Lengths, load_rows, make_lengths, read_row, store_rows, write_row
from rnnfast._native.scan_step cimport ScanStep
from rnnfast._native.stages cimport (
    DENSE, EMBEDDING, RECURRENT, SCAN, Job, Stage, part_of_run, run_stages, take_rows
)
from rnnfast._native.unroll cimport forward_sizes, set_forward
from rnnfast.backend import get_backend

cnp.import_array()


cdef class Steps:
    """The native half of `rnnfast.stream.Stream`: stages, their states, and the step.

    The other half has ``_layers()``, which describes the stages: ``("embedding", weight)``, ``("recurrent", cell,
    Weights)``, ``("scan", Weights, shape of the inputs before a step or None)`` or ``("dense", weight, bias or None, cache,
    activation or None)``; and ``_general(x, out, rows)``, the step for arguments that need more than a glance.

    Parameters
    ----------
    batch : int
        Rows of a step.
    dtype : numpy.dtype
    stores : list of Parameters
        Whose versions say when the stages are out of date.
    """

    cdef readonly Py_ssize_t batch
    cdef readonly object dtype
    cdef list stores
    cdef Py_ssize_t* versions
    cdef list owners                # of everything the stages point to
    cdef list scans                 # of each stage the `ScanStep`, or None
    cdef list before                # the states while the stages are made anew
    cdef Lengths rows               # one step of every row
    cdef readonly object everyone   # (B,) intp, the number of each row
    cdef const rf_ops* ops
    cdef Stage* stages
    cdef int count, typenum
    cdef Py_ssize_t inputs, outputs
    cdef char* x                    # (B, I) for rows that must be collected, when not NULL
    cdef double work                # operations of a step of all rows
    cdef Py_ssize_t taking          # rows that the stages are set to
    cdef char* marks                # (B,) zeros, to find a row that is given twice
    cdef bint busy

    def __cinit__(self):
        self.stages, self.x, self.versions, self.marks = NULL, NULL, NULL, NULL

    def __init__(self, Py_ssize_t batch, dtype, list stores):
        self.batch, self.dtype, self.stores = batch, dtype, stores
        self.typenum = cnp.NPY_FLOAT32 if dtype == np.float32 else cnp.NPY_FLOAT64
        self.rows = make_lengths(batch, 1, None)
        self.everyone = np.arange(batch, dtype=np.intp)
        self.versions = <Py_ssize_t*> alloc(len(stores) * sizeof(Py_ssize_t))
        if self.versions == NULL:
            raise MemoryError
        self.marks = self.room(batch)

    def __dealloc__(self):
        self.free()
        release(self.versions)
        release(self.marks)

    cdef void free(self) noexcept:
        cdef Stage* stage
        cdef int i
        for i in range(self.count):
            stage = &self.stages[i]
            release(stage.kept)
            release(stage.part)
            if stage.kind == RECURRENT:
                release(stage.run.y.start)
                release(stage.run.gates)
                release(stage.run.h)
                release(stage.run.c)
                release(stage.run.aux)
                release(stage.run.stats)
                release(stage.run.m)
        release(self.stages)
        release(self.x)
        self.stages, self.x, self.count, self.ops = NULL, NULL, 0, NULL

    cdef bint is_current(self) except -1:
        """Return whether neither parameters nor instruction set have changed since `_refresh`."""
        cdef Py_ssize_t i, version
        if self.ops != ops(4 if self.typenum == cnp.NPY_FLOAT32 else 8):
            return False
        for i in range(len(self.stores)):
            version = self.stores[i].version
            if version != self.versions[i]:
                return False
        return True

    def _refresh(self):
        """Make the stages anew if they are out of date, from what `_layers` describes; the states are kept."""
        cdef Py_ssize_t i
        if self.is_current():
            return
        self.refuse_if_busy()
        if self.stages != NULL:
            self.before = self._states(self.everyone)
        versions = [store.version for store in self.stores]  # before the weights are read
        layers = self._layers()
        self.free()
        self.owners, self.scans = [], [None] * len(layers)
        self.work = 0
        self.take_rows(self.batch)
        self.stages = <Stage*> alloc(len(layers) * sizeof(Stage))
        if self.stages == NULL:
            raise MemoryError
        memset(self.stages, 0, len(layers) * sizeof(Stage))
        self.count = len(layers)
        try:
            for i, layer in enumerate(layers):
                self.owners.append(layer)
                if layer[0] == "embedding":
                    self.add_embedding(&self.stages[i], layer[1])
                elif layer[0] == "dense":
                    self.add_dense(&self.stages[i], layer[1], layer[2], layer[3], layer[4])
                elif layer[0] == "scan":
                    self.scans[i] = self.add_scan(&self.stages[i], layer[1], layer[2])
                else:
                    self.add_recurrent(&self.stages[i], layer[1], layer[2])
                self.stages[i].kept = self.room(self.batch * self.stages[i].outputs * self.dtype.itemsize)
            self.inputs = 0 if self.stages[0].kind == EMBEDDING else self.stages[0].inputs
            self.outputs = self.stages[self.count - 1].outputs
            self.x = self.room(self.batch * self.inputs * self.dtype.itemsize)
        except BaseException:
            self.free()
            raise
        if self.before is not None:
            self._set_states(self.before, self.everyone)
            self.before = None
        for i in range(len(versions)):
            self.versions[i] = versions[i]
        self.ops = ops(self.dtype.itemsize)

    cdef void take_rows(self, Py_ssize_t batch) noexcept:
        """Set the stages to so many rows; the buffers have room for all."""
        cdef int i
        self.taking = self.rows.n[0] = self.rows.off[1] = batch
        for i in range(self.count):
            take_rows(&self.stages[i], batch)

    cdef int make_parts(self) except -1:
        """Make room for the states of some rows, at most all."""
        cdef Stage* stage
        cdef int i
        for i in range(self.count):
            stage = &self.stages[i]
            if stage.part == NULL and stage.kind == RECURRENT:
                stage.part = self.room(self.batch * part_of_run(&stage.run))
            elif stage.part == NULL and stage.kind == SCAN:
                stage.part = self.room((<ScanStep> self.scans[i]).part_size())
        return 0

    cdef char* room(self, size_t size) except NULL:
        """Return a new block of zeros."""
        cdef size_t least = 1
        cdef char* block = <char*> alloc(max(size, least))
        if block == NULL:
            raise MemoryError
        memset(block, 0, max(size, least))
        return block

    cdef int add_embedding(self, Stage* stage, weight) except -1:
        table = np.ascontiguousarray(weight)
        cdef size_t address = table.ctypes.data
        self.owners.append(table)
        stage.kind = EMBEDDING
        stage.inputs, stage.outputs = table.shape
        stage.table = <const char*> address
        return 0

    cdef int add_dense(self, Stage* stage, weight, bias, dict cache, activation) except -1:
        cdef Panels panels = panels_for(weight, cache, ops(self.dtype.itemsize))
        cdef size_t address = 0 if bias is None else bias.ctypes.data
        self.owners.append(panels)
        panels.make(0)
        stage.kind = DENSE
        stage.outputs, stage.inputs = weight.shape
        stage.product = panels.product[0]
        stage.product.lda, stage.product.ldc, stage.product.ld_init = stage.inputs, stage.outputs, 0
        stage.work.ops, stage.work.rows, stage.work.product = panels.ops, self.batch, &stage.product
        stage.work.row1 = self.batch
        stage.work.init = <const char*> address
        stage.activation = 0 if activation is None else ord(activation[0])
        self.work += 2.0 * self.batch * stage.inputs * stage.outputs
        return 0

    cdef int add_recurrent(self, Stage* stage, cell, weights) except -1:
        cdef Packed packed = packed_weights(cell.kernel, weights)
        cdef Run* run = &stage.run
        cdef size_t sizes[6]
        cdef size_t more[3]
        cdef Py_ssize_t j
        self.owners.append(packed)
        stage.kind = RECURRENT
        stage.inputs, stage.outputs = packed.inputs, packed.outputs
        set_forward(run, packed, self.rows, False)
        set_around(run, packed, self.rows, cell.options, None)
        run.checked = INFINITY  # a step is too short to look for signals within it
        forward_sizes(run, sizes)
        around_sizes(run, more)
        run.gates = self.room(sizes[1])
        run.h = self.room(sizes[2])
        run.c = self.room(sizes[3])
        run.aux = self.room(sizes[4])
        run.stats = self.room(more[0])
        run.m = self.room(more[1])
        run.y.stride, run.y.count = run.size, run.Q
        run.y.start = <Py_ssize_t*> self.room(self.batch * sizeof(Py_ssize_t))
        for j in range(self.batch):
            run.y.start[j] = j * run.Q * run.size
        self.work += 2.0 * run.B * run.ld_gates * (run.X + run.ld)
        return 0

    cdef object add_scan(self, Stage* stage, weights, past):
        cdef ScanStep step = ScanStep(weights, self.batch, past)
        stage.kind, stage.scan = SCAN, &step.job
        stage.inputs, stage.outputs = step.inputs, step.packed.hidden
        self.work += step.work
        return step

    cdef int refuse_if_busy(self) except -1:
        if self.busy:
            raise RuntimeError("another thread is within a step of this stream; give every thread a stream of its own")
        return 0

    # The step

    cdef bint fits(self, object array, Py_ssize_t batch, Py_ssize_t columns, bint written):
        """Return whether ``array`` is (batch, columns) of the stream's own dtype."""
        if not cnp.PyArray_CheckExact(array):
            return False
        cdef cnp.ndarray a = <cnp.ndarray> array
        if cnp.PyArray_NDIM(a) != 2 or cnp.PyArray_TYPE(a) != self.typenum or not cnp.PyArray_ISNOTSWAPPED(a):
            return False
        if cnp.PyArray_DIM(a, 0) != batch or cnp.PyArray_DIM(a, 1) != columns:
            return False
        return not written or cnp.PyArray_ISWRITEABLE(a)

    cdef bint fits_indices(self, object array, Py_ssize_t batch, Py_ssize_t size):
        """Return whether ``array`` is (batch,) int64, or of any length where batch is -1, and all in 0..size-1."""
        if not cnp.PyArray_CheckExact(array):
            return False
        cdef cnp.ndarray a = <cnp.ndarray> array
        cdef Py_ssize_t j
        cdef int64_t index
        if cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_TYPE(a) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(a):
            return False
        if batch >= 0 and cnp.PyArray_DIM(a, 0) != batch:
            return False
        for j in range(cnp.PyArray_DIM(a, 0)):
            index = (<const int64_t*> cnp.PyArray_DATA(a))[j]
            if index < 0 or index >= size:
                return False
        return True

    cdef bint are_distinct(self, cnp.ndarray rows):
        """Return whether no row of the stream is given twice."""
        cdef const int64_t* row = <const int64_t*> cnp.PyArray_DATA(rows)
        cdef Py_ssize_t k, n = cnp.PyArray_DIM(rows, 0)
        cdef bint twice = False
        for k in range(n):
            twice = twice or self.marks[row[k]]
            self.marks[row[k]] = 1
        for k in range(n):
            self.marks[row[k]] = 0
        return not twice

    def step(self, x, out=None, rows=None):
        """Take one time step of every row, or of some, and return its output.

        Parameters
        ----------
        x : array_like (N, I), or (N,) of int where the first layer is an Embedding
            Arrays of the model's dtype (int64 for indices) are taken as they are, others converted.
        out : ndarray (N, C), optional
            Of the model's dtype, writeable, any strides: receives the output, and nothing is allocated. It may be x.
        rows : int, array_like of int or array_like (N,) of bool, optional
            Which rows take the step, each at most once; the others stay as they are and cost nothing. ``x`` and
            ``out`` then have a row for each of these, in their order. What a row answers does not depend on which
            others take part. None: all.

        Returns
        -------
        y : ndarray (N, C)
            ``out`` if it was given, else a new array.

        Raises
        ------
        TypeError
            If x is not real (integer for an Embedding), ``out`` not a writeable array of the model's dtype, or the
            rows neither integers nor truth values.
        ValueError
            If a shape does not fit, or a row is given twice.
        IndexError
            If an index lies outside the table of the Embedding, or a row outside 0..N-1.
        RuntimeError
            If another thread is within a step of the same stream.
        """
        cdef Py_ssize_t batch = self.batch
        if rows is not None:
            if not (self.fits_indices(rows, -1, self.batch) and self.are_distinct(<cnp.ndarray> rows)):
                return self._general(x, out, rows)
            batch = cnp.PyArray_DIM(<cnp.ndarray> rows, 0)
        if not (self.is_current()
                and (self.fits(x, batch, self.inputs, False) if self.inputs
                     else self.fits_indices(x, batch, self.stages[0].inputs))
                and (out is None or self.fits(out, batch, self.outputs, True)) and get_backend() == "native"):
            return self._general(x, out, rows)
        return self._take(<cnp.ndarray> x, out, rows)

    cpdef object _take(self, cnp.ndarray x, out, rows):
        """Do the step on arguments that are known to fit, with stages that are up to date."""
        cdef Job job
        cdef cnp.npy_intp shape[2]
        cdef cnp.ndarray y
        cdef Stage* stage
        cdef Py_ssize_t j, size = cnp.PyArray_ITEMSIZE(x), batch = cnp.PyArray_DIM(x, 0)
        cdef bint direct
        cdef int i
        self.refuse_if_busy()
        if out is None:
            shape[0], shape[1] = batch, self.outputs
            y = <cnp.ndarray> cnp.PyArray_EMPTY(2, shape, self.typenum, 0)
        else:
            y = <cnp.ndarray> out
        if batch == 0:
            return y
        job.rows = NULL
        if rows is not None:
            self.make_parts()
            job.rows = <const int64_t*> cnp.PyArray_DATA(<cnp.ndarray> rows)
        if batch != self.taking:
            self.take_rows(batch)
        job.stages, job.count, job.batch = self.stages, self.count, batch
        job.size = self.dtype_size()
        direct = cnp.PyArray_ISCARRAY(y)
        job.y = cnp.PyArray_BYTES(y) if direct else self.stages[self.count - 1].kept
        job.x = cnp.PyArray_BYTES(x)
        if not cnp.PyArray_ISCARRAY_RO(x):
            for j in range(batch):
                read_row(self.x + j * self.inputs * size, job.x + j * cnp.PyArray_STRIDE(x, 0), self.inputs,
                         cnp.PyArray_STRIDE(x, 1), size)
            job.x = self.x
        for i in range(self.count):
            stage = &self.stages[i]
            if stage.kind == RECURRENT:
                stage.threads = split(&stage.run, 1, NOW)
            elif stage.kind == SCAN:
                stage.threads = (<ScanStep> self.scans[i]).threads()
            elif stage.kind == DENSE:
                stage.threads = worth(2.0 * batch * stage.inputs * stage.outputs, NOW)
        if self.work * batch < RELEASE * <double> self.batch:
            parallel(run_stages, &job, 1)  # on this thread; for what it does about subnormals
        else:
            self.busy = True
            with nogil:
                parallel(run_stages, &job, 1)
            self.busy = False
        if not direct:
            for j in range(batch):
                write_row(cnp.PyArray_BYTES(y) + j * cnp.PyArray_STRIDE(y, 0), job.y + j * self.outputs * job.size,
                          self.outputs, cnp.PyArray_STRIDE(y, 1), job.size)
        return y

    cdef inline int dtype_size(self) noexcept:
        return 4 if self.typenum == cnp.NPY_FLOAT32 else 8

    # States

    def _states(self, const Py_ssize_t[::1] rows):
        """Return copies of the states of these rows: for each recurrent stage a tuple of (rows, ...), h first."""
        cdef Run* run
        cdef int i
        self.refuse_if_busy()
        found = []
        for i in range(self.count):
            if self.stages[i].kind == SCAN:
                found.append(self.scans[i].get(np.asarray(rows)))
            if self.stages[i].kind != RECURRENT:
                continue
            run = &self.stages[i].run
            h = store_rows(rows, run.h, run.ld_h, run.Q, run.size)
            if run.cell.has_c:
                found.append((h, store_rows(rows, run.c, run.ld, run.H, run.size)))
            else:
                found.append((h,))
        return found

    def _set_states(self, list states, const Py_ssize_t[::1] rows):
        """Copy states of these rows in; they have the form that `_states` returns and any strides."""
        cdef Run* run
        cdef int i
        self.refuse_if_busy()
        given = iter(states)
        for i in range(self.count):
            if self.stages[i].kind == SCAN:
                self.scans[i].put(next(given), np.asarray(rows))
            if self.stages[i].kind != RECURRENT:
                continue
            run = &self.stages[i].run
            own = next(given)
            load_rows(rows, own[0], run.h, run.ld_h)
            if run.cell.has_c:
                load_rows(rows, own[1], run.c, run.ld)

    def _clear(self, const Py_ssize_t[::1] rows):
        """Set the states of those rows to zero; all are within the batch."""
        cdef Run* run
        cdef int i
        cdef Py_ssize_t k, line, line_h
        self.refuse_if_busy()
        for i in range(self.count):
            if self.stages[i].kind == SCAN:
                self.scans[i].clear(np.asarray(rows))
            if self.stages[i].kind != RECURRENT:
                continue
            run = &self.stages[i].run
            line, line_h = run.ld * run.size, run.ld_h * run.size
            for k in range(rows.shape[0]):
                memset(run.h + rows[k] * line_h, 0, line_h)
                if run.cell.has_c:
                    memset(run.c + rows[k] * line, 0, line)

    def _buffers(self):
        """Return the addresses of every buffer that a step works in: a step allocates none, so they stay."""
        cdef Stage* stage
        cdef int i
        found = [<size_t> self.x]
        for i in range(self.count):
            stage = &self.stages[i]
            found += [<size_t> stage.kept, <size_t> stage.part]
            if stage.kind == SCAN:
                found += self.scans[i].buffers()
            if stage.kind == RECURRENT:
                found += [<size_t> stage.run.gates, <size_t> stage.run.h, <size_t> stage.run.c, <size_t> stage.run.aux,
                          <size_t> stage.run.stats, <size_t> stage.run.m]
        return found
