"""What a verb of the command line is, and what the help of all verbs says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verb:
    """A verb: the module of `genaudit.tasks` that runs it, the key that bare arguments go to, its help.

    Attributes:
        summary: one line for the overview.
        usage: the first line of the help. examples: commands that run. text: what it does and which keys it knows.
        module: the module of `genaudit.tasks`. bare_key: the key of bare arguments; bare_many: as a list.
        second_key: the key that a second bare argument was likely meant for; takes_second: it goes there.
        flags: switches of its own ("--plan"), passed on as key=true.
    """

    summary: str
    usage: str
    examples: str
    text: str
    module: str
    bare_key: str | None = None
    bare_many: bool = False
    second_key: str | None = None
    takes_second: bool = False
    flags: frozenset[str] = field(default_factory=frozenset)

    @property
    def help(self) -> str:
        return f"{self.summary}\n\nUsage: {self.usage}\n\nExamples:\n{_indent(self.examples)}\n\n{self.text}\n{HYDRA}"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


MEASURING = """\
Keys that every measuring verb knows:
  generated, reference, train, anomalies
                                a folder of images, .zip, .tar(.gz), .npz, .npy, .pt, .safetensors, .h5, a list of
                                images or shards (.csv, .tsv, .txt, .jsonl), a pattern ('*.png', 's-{000..012}.tar');
                                or a dataset config: dataset@reference=cifar10; an address (https://, s3://, gs://,
                                hf://) of any of these; reference= a name of `genaudit list references` too
  generator=NAME  trust=false   a generator file (TorchScript, torch.export) is a program; trust=true runs it
  feature_model=NAME            genaudit list feature_models shows them; feature_model.checkpoint=FILE for own weights
  feature_model=[A,B]           each metric on each network, as fd@A and fd@B (evaluate, demo); feature_model.A.size=64
                                sets a key of one; metric.is.feature_model=A gives a metric a network of its own
  metric=[NAME,...]             genaudit list metrics shows them
  preset=NAME                   networks, preprocessing and settings of another tool or paper (evaluate): adm, edm2,
                                pytorch_fid, torch_fidelity, clean_fid, dgm_eval, cmmd, dinov2, fdr6;
                                genaudit list presets says what each gives
  out=DIR  store=DIR            where reports go; where measured rows are kept
  seed=0  confidence=0.95
  limit=N                       a random subset of the generated images, by content and seed; limit_reference=N,
                                limit_train=N, limit_anomalies=N: of other roles, which changes what values mean
  device=auto|cpu|cuda|cuda:N|mps  batch_size=auto|N  workers=auto|N
  precision=float32|tf32|bfloat16|float16|float64  engine=auto|torch|openvino  compile=false
  on_error=fail|skip  max_skipped=0.01  max_pixels=100000000  offline=false  progress=true
  skip=false                    true: continues without a named metric that cannot be computed (else exit code 2)
"""

HYDRA = """\
--quiet (-q) says errors only. --json prints a line of JSON a run on standard output in place of tables: where its files
are, its verdict or decision, its exit code. Without a terminal a line every 30 seconds on standard error says how far
it is; progress=false says none. evaluate, reject, gate, train, reproduce and demo keep what was said in log.txt
of the run's folder.
Hydra's switches work too: --cfg job (show the configuration), --info, --config-dir DIR (your own YAML),
--multirun (sweeps), hydra/launcher=... Exit codes: 0 done or accepted, 1 an internal error, 2 your input or
configuration or machine, 3 rejected by a gate, 4 a gate is undecided, 130 interrupted (Ctrl-C or SIGTERM;
what was measured or trained is kept). They hold whatever becomes of the output, as in `| head -1`.
"""
