"""The verbs of the command line and what `--help` says of them; every command in the texts runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verb:
    """A verb: the module of `genaudit.tasks` that runs it, the key that bare arguments go to, its help.

    Attributes:
        summary: one line for the overview.
        usage: the first line of the help. examples: commands that run. text: what it does and which keys it knows.
        module: the module of `genaudit.tasks`. bare_key: the key of bare arguments; bare_many: as a list.
        flags: switches of its own ("--plan"), passed on as key=true.
    """

    summary: str
    usage: str
    examples: str
    text: str
    module: str
    bare_key: str | None = None
    bare_many: bool = False
    flags: frozenset[str] = field(default_factory=frozenset)

    @property
    def help(self) -> str:
        return f"{self.summary}\n\nUsage: {self.usage}\n\nExamples:\n{_indent(self.examples)}\n\n{self.text}\n{HYDRA}"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


MEASURING = """\
Keys that every measuring verb knows:
  generated, reference, train   a folder of images, .zip, .tar, .npz, .npy, .pt, .safetensors, .h5, or a .csv/.txt list;
                                or a dataset config: dataset@reference=cifar10
  feature_model=NAME            genaudit list feature_models shows them; feature_model.checkpoint=FILE for own weights
  metric=[NAME,...]             genaudit list metrics shows them
  out=DIR  store=DIR            where reports go; where measured rows are kept
  seed=0  limit=N  confidence=0.95
  device=auto|cpu|cuda|cuda:N|mps  precision=float32|bfloat16|float64  batch_size=auto|N  workers=auto|N
  on_error=fail|skip  max_skipped=0.01  max_pixels=100000000  offline=false  progress=true
"""

HYDRA = """\
Hydra's switches work too: --cfg job (show the configuration), --info, --config-dir DIR (your own YAML),
--multirun (sweeps), hydra/launcher=... Exit codes: 0 done or accepted, 1 a defect of genaudit, 2 your input or
configuration, 3 rejected by the gate, 4 the gate needs more samples, 130 interrupted.
"""

VERBS = {
    "evaluate": Verb(
        "Measures a folder of generated images and judges it; writes report.json, two CSVs and report.html.",
        "genaudit evaluate SAMPLES [reference=R] [train=T] [key=value ...]",
        """
genaudit evaluate samples/ reference=real/
genaudit evaluate samples.zip reference=real/ train=train/ metric=[as,as_i,irs,fd,kd,prdc,vendi,authpct,ct]
genaudit evaluate samples/ reference=real/ feature_model=timm feature_model.name=resnet18 device=cuda
genaudit evaluate samples/ reference=real/ --multirun seed=0,1,2
""",
        MEASURING,
        module="evaluate",
        bare_key="generated",
    ),
    "compare": Verb(
        "Ranks finished runs in one table, with which differences are within the intervals.",
        "genaudit compare RUN RUN ... [out=DIR]",
        "genaudit compare runs/evaluate/first runs/evaluate/second",
        "A RUN is the folder of a finished run, or its report.json.\n",
        module="compare",
        bare_key="runs",
        bare_many=True,
    ),
    "check": Verb(
        "Reads every image and says what would be used, skipped, and why; no network is loaded.",
        "genaudit check PATH ... [key=value ...]",
        "genaudit check samples/ real.zip",
        "Keys: max_pixels=100000000  workers=auto  limit=N\n",
        module="check",
        bare_key="paths",
        bare_many=True,
    ),
    "list": Verb(
        "Lists what there is, what each needs, and whether its weights are on this machine.",
        "genaudit list metrics|feature_models|datasets|tables",
        "genaudit list metrics\ngenaudit list feature_models",
        "",
        module="listing",
        bare_key="what",
    ),
    "demo": Verb(
        "Evaluates the small real set that ships inside the package; needs no network.",
        "genaudit demo [key=value ...]",
        "genaudit demo\ngenaudit demo limit=64 metric=[irs,fd]",
        "Keys: sets=[vae,...] picks generated sets; the measuring keys of `genaudit evaluate --help` work too.\n",
        module="demo",
    ),
}

OVERVIEW = (
    """genaudit audits generative image models: are the samples good, diverse, memorised; may this checkpoint ship?

Usage: genaudit VERB [SAMPLES] [key=value ...]

"""
    + "\n".join(f"  {name:<10} {verb.summary}" for name, verb in VERBS.items())
    + """

Start here:
  genaudit demo
  genaudit evaluate samples/ reference=real/ train=train/
  genaudit VERB --help
"""
)
