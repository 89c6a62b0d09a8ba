"""Settings that a whole process has only once, or a thread: PyTorch's, and how many threads linear algebra takes.

A setting of a thread (gradients, autocast, default device) is changed in that thread alone. One of the process is
changed only where it would change numbers, and by way of `Shared`, since several threads may measure at a time. The
caller finds every setting as it was.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import Any

Undo = Callable[[], None]
# where float32 may mean less, by device: products, convolutions, recurrences
_LEAVES = {
    "cpu": ("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"),
    "cuda": ("cuda.matmul", "cudnn.conv", "cudnn.rnn"),
}
_REDUCED = ("tf32", "bf16")
# what draws from the process's generator unless told another: of a tensor, of torch, of torch.nn.init
_DRAWS = (
    ("bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "uniform_"),
    ("bernoulli", "multinomial", "normal", "rand", "randint", "randn", "randperm"),
    (
        *("kaiming_normal_", "kaiming_uniform_", "normal_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_"),
        *("xavier_normal_", "xavier_uniform_"),
    ),
)
_THREADS = threading.Lock()
_TF32 = threading.RLock()


class Shared:
    """A change of process-wide state: the first thread that needs it makes it, the last one takes it back.

    Each thread saving and restoring by itself would leave the change behind for ever: the second one saves what the
    first has changed, and restores that after the first has put everything right.

    Args:
        change: makes the change and returns what undoes it.
    """

    def __init__(self, change: Callable[[], Undo]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Undo = _nothing

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """The change holds inside."""
        with self._lock:
            if self._users == 0:
                self._undo = self._change()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    undo, self._undo = self._undo, _nothing
                    undo()


def _nothing() -> None:
    pass


@contextmanager
def one_core() -> Iterator[None]:
    """Linear algebra inside runs in one thread.

    Eigenvalues and singular values of thousands of columns make a library's threads wait for each other at every
    column. Where something else wants a core too, which is the rule beside a training run, they wait for a time slice:
    eigenvalues of 2,000 columns took 14.6 s in two threads beside another process on two cores, and 0.9 s in one.
    """
    with _LIMITED():
        yield


def _limit() -> Undo:
    undo: Undo = _libraries(len(sys.modules)).limit(limits=1, user_api="blas").restore_original_limits
    return undo


@lru_cache(maxsize=1)
def _libraries(modules: int) -> Any:
    """The libraries of linear algebra that are loaded; to look for them takes longer than a small eigenvalue problem.

    Args:
        modules: how many modules were imported: one that is new may have brought a library.
    """
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_LIMITED = Shared(_limit)


@contextmanager
def exact_float32(device: str = "cpu") -> Iterator[None]:
    """float32 means float32 on the device: no TF32 and no bfloat16 passes in products and convolutions.

    On CUDA cuDNN does not time its algorithms either (`benchmark`): which one is fastest varies from run to run.
    """
    with _EXACT["cuda" if device.startswith("cuda") else "cpu"]():
        yield


@contextmanager
def tf32() -> Iterator[None]:
    """Products and convolutions in float32 on CUDA round their inputs to TF32's 10 bits, as they are queued inside.

    The setting is the process's: what another thread queues meanwhile rounds too, so it is held for a call of a network
    and not for a run. One thread is inside at a time, and finds what `exact_float32` or the caller has set.
    """
    with _TF32:
        undo = _put_precision("cuda", "tf32", lambda before: True)
        try:
            yield
        finally:
            undo()


@contextmanager
def neutral() -> Iterator[None]:
    """Gradients, autocast, default type and default device as PyTorch starts with them.

    Callers measure inside `torch.no_grad()`, inference mode, autocast or with float64 as default type: rows must not
    depend on it, and parameters that are made in inference mode could never be attacked.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(_FLOAT32())
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Networks that are made inside draw their weights from the seed, and the process's generators stay as they are.

    The numbers are those of `torch.manual_seed(seed)`, on the CPU. Forking that generator would keep it for the caller
    as long as no other thread draws meanwhile; and it would seed the CUDA devices.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    generator = torch.Generator().manual_seed(seed)
    owners = zip((torch.Tensor, torch, torch.nn.init), _DRAWS, strict=True)
    draws = {getattr(owner, name) for owner, names in owners for name in names}

    class Drawing(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func in draws and kwargs.get("generator") is None:
                kwargs["generator"] = generator
            return func(*args, **kwargs)

    with Drawing():
        yield


def one_thread() -> None:
    """This thread, a new one, computes alone from now on; other threads, also later ones, keep their number.

    `torch.set_num_threads` sets its own thread and the number that new threads begin with. The latter is put back
    from another new thread.
    """
    import torch

    with _THREADS:
        usual = _in_new_thread(torch.get_num_threads)
        torch.get_num_threads()  # a thread's first call takes over the usual number, and would after the next line
        torch.set_num_threads(1)
        _in_new_thread(lambda: torch.set_num_threads(usual))


def _in_new_thread(work: Callable[[], Any]) -> Any:
    box: list[Any] = []
    thread = threading.Thread(target=lambda: box.append(work()))
    thread.start()
    thread.join()
    return box[0]


def _exact(kind: str) -> Undo:
    import torch

    undo = [_put_precision(kind, "ieee", lambda before: before in _REDUCED)]  # an inherited "none" is left to inherit
    if kind == "cuda" and torch.backends.cudnn.benchmark:
        torch.backends.cudnn.benchmark = False
        undo.append(lambda: setattr(torch.backends.cudnn, "benchmark", True))

    def everything() -> None:
        for each in reversed(undo):
            each()

    return everything


def _put_precision(kind: str, precision: str, where: Callable[[str], bool]) -> Undo:
    """Sets what float32 means in products, convolutions and recurrences, "ieee" or "tf32"; `where` sees what it was."""
    import torch

    undo: list[Undo] = []

    def put(owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        if before != value:
            setattr(owner, name, value)
            undo.append(lambda: setattr(owner, name, before))

    if hasattr(torch.backends, "mkldnn") and hasattr(torch.backends.mkldnn, "matmul"):
        for leaf in _LEAVES[kind]:
            owner: Any = torch.backends
            for part in leaf.split("."):
                owner = getattr(owner, part)
            if where(owner.fp32_precision):
                put(owner, "fp32_precision", precision)
    else:  # before PyTorch 2.9
        if kind == "cuda":
            put(torch.backends.cudnn, "allow_tf32", precision == "tf32")
        before = torch.get_float32_matmul_precision()
        wanted = "high" if precision == "tf32" else "highest"
        if before != wanted:
            torch.set_float32_matmul_precision(wanted)
            undo.append(lambda: torch.set_float32_matmul_precision(before))
        if kind == "cuda":
            put(torch.backends.cuda.matmul, "allow_tf32", precision == "tf32")

    def everything() -> None:
        for each in reversed(undo):
            each()

    return everything


def _float32() -> Undo:
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    return lambda: torch.set_default_dtype(before)


_EXACT = {kind: Shared(lambda kind=kind: _exact(kind)) for kind in _LEAVES}  # type: ignore[misc]
_FLOAT32 = Shared(_float32)
