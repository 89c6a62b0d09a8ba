"""The diversity gate as a PyTorch Lightning callback. Importing this module is what needs Lightning.

from genaudit.integrations.lightning import DiversityCallback

gate = genaudit.DiversityGate("train/", irs_target=0.8, n_max=2000)
trainer = Trainer(callbacks=[DiversityCallback(gate, lambda module, n, generator: module.sample(n))])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genaudit.integrations.training_loop import check_diversity
from genaudit.stats.bounds import positive_int

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback
    except ImportError as missing:
        raise ImportError(
            "genaudit.integrations.lightning needs PyTorch Lightning: `pip install lightning` (or pytorch-lightning); "
            "genaudit.integrations.training_loop works without it"
        ) from missing

if TYPE_CHECKING:
    from genaudit.metrics.gate import Verdict
    from genaudit.tasks.gate.diversity_gate import DiversityGate


class DiversityCallback(Callback):
    """Gates the model at the end of training epochs; logs what it found and stops a run that keeps being rejected.

    Logged are `diversity/rejected`, `diversity/accepted` (1 or 0 each) and `diversity/n_sampled`. No estimate of the
    diversity is: a test that stops as soon as it knows leaves none (`genaudit reject` of the samples gives one). The
    decisions and a check that was interrupted are kept in Lightning's checkpoints.
    Only the process of rank 0 samples; all are told to stop.

    Args:
        gate: made with `n_max`.
        sample: `sample(module, n, generator) -> (n, C, H, W)` images in [0, 1] or uint8, or embeddings (n, D).
        every_n_epochs: how often. first_epoch: a model that has hardly been trained is not yet judged.
        patience: rejections in a row that stop the training, which is printed; None only logs.
        batch_size: samples drawn at a time. seed: of the samples.
    """

    def __init__(
        self,
        gate: DiversityGate,
        sample: Callable[..., Any],
        *,
        every_n_epochs: int = 1,
        first_epoch: int = 0,
        patience: int | None = 3,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        positive_int("every_n_epochs", every_n_epochs)
        if patience is not None:
            positive_int("patience", patience)
        self.gate, self.sample = gate, sample
        self.every_n_epochs, self.first_epoch, self.patience = every_n_epochs, first_epoch, patience
        self.batch_size, self.seed = batch_size, seed
        self.history: list[dict[str, Any]] = []
        self._interrupted = False

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        epoch = int(trainer.current_epoch)
        if epoch < self.first_epoch or (epoch - self.first_epoch) % self.every_n_epochs:
            return
        stop = False
        if trainer.is_global_zero:
            verdict = self._check(pl_module)
            self._book(trainer, epoch, verdict)
            recent = [each["decision"] for each in self.history][-(self.patience or 1) :]
            stop = self.patience is not None and recent == ["reject"] * self.patience
            if stop:
                print(
                    f"genaudit: stopping the training after epoch {epoch}: the diversity gate rejected {self.patience} "
                    f"times in a row. {verdict.reasons[0]}",
                    flush=True,
                )
        trainer.should_stop = trainer.should_stop or trainer.strategy.reduce_boolean_decision(stop, all=False)

    def _check(self, module: Any) -> Verdict:
        training, resume = module.training, self._interrupted
        module.eval()
        self._interrupted = True
        try:
            verdict = check_diversity(
                self.gate,
                lambda n, generator: self.sample(module, n, generator),
                batch_size=self.batch_size,
                seed=self.seed,
                resume=resume,
            )
        finally:
            module.train(training)
        self._interrupted = False
        return verdict

    def _book(self, trainer: Any, epoch: int, verdict: Verdict) -> None:
        numbers = {
            "rejected": float(verdict.decision == "reject"),
            "accepted": float(verdict.decision == "accept"),
            "n_sampled": float(verdict.n_sampled),
        }
        self.history.append({"epoch": epoch, "decision": verdict.decision, **numbers})
        trainer.callback_metrics.update({f"diversity/{name}": _scalar(value) for name, value in numbers.items()})
        for logger in trainer.loggers:
            logger.log_metrics({f"diversity/{name}": value for name, value in numbers.items()}, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "interrupted": self._interrupted, "gate": self.gate.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history, self._interrupted = list(state["history"]), bool(state["interrupted"])
        self.gate.load_state_dict(state["gate"])


def _scalar(value: float) -> Any:
    import torch

    return torch.tensor(value)
