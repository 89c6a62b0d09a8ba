"""The verbs of the command line and what `--help` says of them; every command in the texts runs."""

from __future__ import annotations

from genaudit.verb import MEASURING, Verb

VERBS = {
    "evaluate": Verb(
        "Measures a folder of generated images and judges it; writes report.json, two CSVs and report.html.",
        "genaudit evaluate SAMPLES [reference=R] [train=T] [key=value ...]",
        """
genaudit evaluate samples/ reference=real/
genaudit evaluate samples.zip reference=real/ train=train/ metric=[as,as_i,irs,fd,kd,prdc,vendi,authpct,ct]
genaudit evaluate samples/ reference=real/ feature_model=timm feature_model.name=resnet18 device=cuda
genaudit evaluate samples/ reference=real/ --multirun seed=0,1,2 out=runs/sweep
genaudit evaluate 'runs/samples/step_*' reference=real/
""",
        """\
A pattern of folders (or archives), quoted, is a run for each in a folder of its name, and a comparison of them beside
these; pool=true judges all as one set. In a sweep every job writes into its own folder: out/0, out/1, ...
require=RULES  baseline=RUN  strict=false  passes or fails the run by rules (`genaudit gate --help`): exit code 3 or 4.
by=class  every class by itself too (classes.csv); paired=true  PSNR, SSIM, LPIPS of each image against its partner

"""
        + MEASURING,
        module="evaluate",
        bare_key="generated",
        second_key="reference",
    ),
    "reject": Verb(
        "Diversity gate for a checkpoint: accepts, rejects or asks for more samples; writes decision.json and a page.",
        "genaudit reject SAMPLES train=T [irs_target=0.8] [reference=R] [key=value ...]",
        """
genaudit reject samples/ train=train/ irs_target=0.8 alpha=0.05
genaudit reject samples/ train=train/ mode=sequential
genaudit reject samples/ train=train/ reference=held_out/ irs_target=0.9
find samples -name '*.png' | genaudit reject - train=train/ n_max=2000
genaudit reject 'runs/samples/step_*' train=train/
genaudit reject --plan n_train=50000 irs_target=0.8 alpha=0.05
""",
        """\
Exit code 0: accepted; 3: rejected; 4: undecided, more samples are needed. The samples are compared with held-out real
images that retrieve from the same training set; a model as diverse as irs_target asks for is rejected with probability
at most alpha, however uneven retrieval is. A model is accepted when it is not rejected and the samples were enough to
reject a model of detect times the target with probability power.

The gate's keys:
  reference=R           held-out real images; without them some training images are set aside and play them
  irs_target=0.8        share of what real images reach that the model must reach
  detect=0.5 power=0.8  what an acceptance is worth
  absolute=true         the paper's literal test (Eq. 9): a share of the training set, drawn evenly. Real images may not
                        reach it themselves; where retrieval is uneven the answer is undecided
  mode=fixed            tests once, after all samples; mode=sequential while they come, and measures few more than it
                        needs. SAMPLES of - reads image paths from standard input, one per line, sequentially
  n_max=N               draw at most N samples
  distance=euclidean    or cosine
  --plan                how many samples reject a model of diversity d; with n_train=N or train=T, diversity=[0.1,0.4]
A pattern of folders, quoted, decides for each in the order of their numbers; the exit code is the last one's. pool=true
judges all as one set. limit=N judges a random subset of the samples (of a stream the first N), never of train.

"""
        + "\n".join(line for line in MEASURING.split("\n") if not line.startswith(("  metric=", "  skip="))),
        module="reject",
        bare_key="generated",
        second_key="train",
        flags=frozenset({"--plan"}),
    ),
    "gate": Verb(
        "Passes or fails a finished run by rules, without measuring again; writes gate.json, gate.xml and gate.md.",
        "genaudit gate RUN require=RULES [baseline=RUN] [strict=true] [key=value ...]",
        """
genaudit gate runs/evaluate/first require='recall >= 0.6'
genaudit gate runs/evaluate/first require=rules.yaml strict=true
genaudit gate runs/evaluate/second "require=['kd <= baseline + 0.1', 'precision >= 0.5']" baseline=runs/evaluate/first
genaudit evaluate samples/ reference=real/ "require=['recall >= 0.6', 'precision.lower >= 0.5']"
""",
        """\
A RUN is the folder of a finished run, or its report.json. The same keys on `genaudit evaluate` judge a run as it ends,
after its report is written; over a pattern of folders each run is judged, and the exit code is the last one's.

Exit code 0: all rules hold; 3: one fails; 4: none fails and one is undecided; 2: a rule that cannot be read or names
what is not there (found before anything is measured where it can be known then).

A rule is one comparison (>= <= > < == !=) of two sides of numbers, names, + - * / and parentheses:
  recall                a value of the run; prdc.recall, fd@dinov2_l14.fd where two metrics have it; quoted where it
                        holds other signs than letters, digits, _ and @
  fd.lower  fd.upper    the ends of its interval; fd.value the number alone
  fd.real               what fresh real images of the same count score; fd.real_ratio the value (of as
                        many images) divided by that
  baseline              the same in the run that baseline= names; baseline.fd, baseline.lower. The outcome says whether
                        the difference is more than chance: by relabelling the images of both runs, from the rows in
                        the store (relabellings=40; 0: never), else by the intervals. A run that was measured otherwise,
                        on other real images or on other numbers of images leaves the rule undecided
  verdict.memorised     quality, diversity, memorised, likelihood, comparable: by == or != with an answer (yes, ...).
                        cannot_tell leaves == undecided; != holds, with strict=true it is undecided

  require=              a rule, a list of rules, or a YAML file with a list under require:
  strict=true           a rule holds only if it holds for all that the intervals allow; else it is undecided, as it is
                        for a value without an interval (write vendi.value to ask of the number alone)
  out=DIR               where gate.json, gate.xml (JUnit) and gate.md go; the run's folder unless given

A value that could not be computed, or has no real floor, leaves its rule undecided, with the reason.

""",
        module="gate_run",
        bare_key="run",
        second_key="baseline",
    ),
    "train": Verb(
        "Fits a density model or PIAD on images, for metric=llr and metric=piad; resumable.",
        "genaudit train likelihood=NAME train=T [out=RUN] [key=value ...] | genaudit train piad=NAME train=T [...]",
        """
genaudit train likelihood=glow_laptop train=images/ out=runs/mine
genaudit train likelihood=glow train=images/ anomalies=other/ reference=held_out/ likelihood.model.channels=1
genaudit train likelihood=glow_laptop train=images/ finetune=runs/general likelihood.recipe.learning_rate=6e-3
genaudit train likelihood=glow_laptop train=images/ outliers=photos/ general=runs/general
genaudit train piad=mnist train=images/ anomalies=other/ out=runs/piad
genaudit train piad=celeba train=faces/ piad/perceptual=vgg19 piad.perceptual.weights=vgg19-dcbb9e9d.pth
genaudit train piad-statistics images=photos/ out=statistics.json
torchrun --nproc-per-node 2 -m genaudit train likelihood=glow train=images/ out=runs/mine
""",
        """\
A training whose loss or parameters are not finite ends with exit code 2, its last finite checkpoint and no model.
RUN then is density_model=RUN (or general_model=RUN) of `genaudit evaluate ... metric=[llr]`, or piad_model=RUN of
metric=[piad]. The same command resumes a training that was stopped or killed, bit for bit; a finished one is done.
The run folder holds model.safetensors, model.json, log.csv, samples.png, train.html and the checkpoint.

Keys:
  train, reference, anomalies   images to learn; held-out images of the same kind; out-of-distribution images (sources
                                as in `genaudit evaluate --help`): the log then has their bits per dimension and AUROC
  likelihood.model.KEY          the network: channels=1|3, size=32, ... images no larger than size are padded with black
  likelihood.recipe.KEY         the training: iterations, epochs, batch_size, learning_rate, ...; +likelihood.recipe.KEY
                                sets one that the YAML leaves at its default
  finetune=RUN                  start from a trained model
  outliers=PATH general=RUN     outlier loss on images of the general distribution, beside a trained general model;
                                likelihood.recipe.outliers=margin needs no general model
  piad.networks.KEY             PIAD's networks: name=mnist|cifar10|lsun|celeba, size=64, width=0.5
  piad.recipe.KEY               its training: iterations, n_dis, batch_size, policy=paper|released|fixed, ...
  piad.channels=1|3  piad.reconstruction=relative_perceptual_l1|perceptual_l1|perceptual|mse
  piad/perceptual=efficientnet_lite0|vgg19|layer, piad.perceptual.weights=FILE  piad.perceptual.statistics=FILE
  likelihood=wide_resnet        no density: a classifier of train against outliers, for comparison (AUROC, scores.csv)
  likelihood.model.classes=K    class-conditional: classes are the sub-folders of train, or labels=FILE (.npy, .txt);
                                finetune=RUN may be a model without classes
  every=N  checkpoint_seconds=30  samples=64  seed=0  limit_train=N  device=auto|cpu|cuda|cuda:N|mps  out=RUN
  on_error=fail|skip  max_skipped=0.01  max_pixels=100000000  workers=auto|N  progress=true

""",
        module="train",
        bare_key="what",
    ),
    "explain": Verb(
        "Shows which regions of each image make it vulnerable: superpixels, attacked in turns, and a regression.",
        "genaudit explain IMAGES [key=value ...]",
        "genaudit explain samples/ limit=8\ngenaudit explain samples/ trials=60 superpixels=20 feature_model=vit_s16",
        "Writes coefficients.csv, overlays/*.png and explain.html. Keys: superpixels=20  trials=20  least=3  most=6\n"
        "alpha=0.01  attack_steps=10, and feature_model, seed, limit, device, out.\n"
        "Needs pip install 'genaudit-images[explain]'.\n",
        module="explain",
        bare_key="generated",
    ),
    "moments": Verb(
        "Writes mean and covariance of the images' features, for `evaluate reference=FILE.npz` and for other tools.",
        "genaudit moments IMAGES out=FILE.npz [key=value ...]",
        """
genaudit moments real/ out=real.npz
genaudit moments real/ out=real.npz feature_model=fid_inception spatial=true
genaudit evaluate samples/ reference=real.npz metric=[fd]
""",
        """\
The file holds mu and sigma as pytorch-fid, clean-fid and ADM's evaluator name them, and beside them n, the feature
model, its weights' SHA-256 and genaudit's version; with spatial=true mu_s and sigma_s, the moments of spatial features
for metric=[sfd], under ADM's names. `evaluate reference=FILE.npz` takes the files of those tools too;
a file that holds images as well (ADM's VIRTUAL_*.npz) is read as images, and as moments with
dataset@reference=moments reference.path=FILE.npz. Keys: feature_model, precision, limit, device, store, seed, on_error
and the other measuring keys of `genaudit evaluate --help`.
""",
        module="moments",
        bare_key="reference",
    ),
    "reproduce": Verb(
        "Recomputes a table of the five papers beside its published numbers; writes a CSV, a JSON and a page.",
        "genaudit reproduce table=NAME|all [scale=laptop|paper] [data=DIR] [out=DIR] [key=value ...]",
        """
genaudit reproduce irs_section11
genaudit reproduce table=as_table_b1 out=tables
genaudit reproduce table=irs_table6 scale=paper data=~/datasets device=cuda
genaudit reproduce table=all out=tables
""",
        """\
`genaudit list tables` shows the tables, what each needs and what is on this machine. Before it starts, a run says what
is missing. A run that was interrupted resumes from its last step; steps are kept in the row store.

  scale=laptop          data and weights that ship with genaudit; the table says what differs from the paper's setting
  scale=desk            the laptop's method with hours in place of minutes: several seeds (PIAD's tables)
  scale=paper           the paper's own settings, on the datasets under data=DIR
  table.KEY=VALUE       replaces a setting of the table's YAML
  out=DIR               where NAME.csv, NAME.json and NAME.html go; table=all writes index.html beside them
  seed=0  device=auto|cpu|cuda|cuda:N|mps  store=DIR  offline=false  progress=true

A cell is "reproduced" where the two numbers differ by no more than half a unit of the last printed digit (or the
tolerance that the table states), "within interval" where the published one lies in the recomputed interval and chance
does not, "within 1 %", "same order" on the same side of chance within a factor of 2, and otherwise "differs".

""",
        module="reproduce",
        bare_key="table",
    ),
    "compare": Verb(
        "Ranks finished runs in one table, and tests which of them differ from the best.",
        "genaudit compare RUNS ... [sort=VALUE] [baseline=RUN] [pareto=[VALUE,VALUE]] [equal_n=true] [out=DIR]",
        """
genaudit compare runs/evaluate/first runs/evaluate/second
genaudit compare runs/sweep baseline=seed=0 sort=fd
genaudit compare 'runs/steps/step_*' pareto=[fd,recall]
""",
        """RUNS are folders of finished runs or their report.json, folders of them (a sweep's too), and quoted patterns.
Runs of a sweep are called by what was swept; those whose names or keys hold a step stand in its order, and the page
draws values over it.
  sort=VALUE            the best first: a value's name (fd, prdc.recall), or step
  baseline=RUN          every value less that run's (its label in the table, or its folder), with a p-value by
                        relabelling the generated images, corrected for all differences at once; differences.csv
  pareto=[VALUE,VALUE]  the runs that no other one beats in both

Whether a run differs from the best is tested by relabelling the generated images of both against the reference that
they share, from the rows in the store (store=), corrected for all values and pairs; relabellings=N sets how often, 0
decides by the intervals. equal_n=true judges all runs again on equally many images.
column=FILE.csv correlates every value with a number per run (Pearson, Spearman, Kendall, with intervals by
bootstrap over runs): a CSV with columns `run` (the label in the table) and one of numbers; column_name=NAME picks it.
column=human_error_rates takes dgm-eval's human study: runs are matched by their label, DATASET/MODEL.
""",
        module="compare",
        bare_key="runs",
        bare_many=True,
    ),
    "export": Verb(
        "Takes features, rows or per-image columns of a finished run out, as npz, Parquet or CSV.",
        "genaudit export RUN [what=features|rows|images] [format=npz|parquet|csv] [out=DIR or FILE]",
        """
genaudit export runs/evaluate/first
genaudit export runs/evaluate/first what=features role=reference out=real.npz
genaudit export runs/evaluate/first what=rows format=csv
genaudit export runs/evaluate/first what=images format=parquet
""",
        """\
Nothing is measured again: the rows come from the row store (store=), where the run left them.
  what=features         the features of the run's networks; rows: of every measure (complexity and vulnerability,
                        log-likelihoods, ...); images: the columns of images.csv
  format=npz            an array per role, and its images' digests; files of one role each (role=reference) can take the
                        places of images in genaudit evaluate. parquet, csv: a row per image
  measure=NAME          a part of a measure's name, where only its rows are wanted
  out=DIR               default RUN/export; or one FILE.npz, FILE.parquet, FILE.csv
""",
        module="export",
        bare_key="run",
    ),
    "check": Verb(
        "Says what of images would be used, and whether sets may be compared; no network is loaded.",
        "genaudit check PATH ... [reference=B train=T] [harm=true] [key=value ...]",
        """
genaudit check samples/ real.zip
genaudit check samples/ reference=real/ train=train/
genaudit check samples/ reference=real/ harm=true
""",
        """\
Every image is read. With reference= or train= the path plays generated, and a table shows formats, JPEG quality,
sizes, modes, grey, bit depth, alpha and copies of each role; below it stands what differs between them, what that does
to which metrics, and what to do (docs/audit.md). The same opens every report of `genaudit evaluate`.

  harm=true             recodes or resizes up to 400 images as the other side is, and says by how much FD and recall
                        move; only this runs a network (feature_model=NAME)
  limit=N  limit_reference=N  limit_train=N  max_pixels=100000000  workers=auto|N

""",
        module="check",
        bare_key="paths",
        bare_many=True,
    ),
    "sample": Verb(
        "Draws images of a generator and writes them as PNGs.",
        "genaudit sample generator=NAME [n=1000] [out=DIR] [key=value ...]",
        "genaudit sample generator=demo_vae n=200 out=samples\n"
        "genaudit sample generator=torchscript generator.file=G.pt generator.latent=128 trust=true n=200 "
        "out=samples",
        "Keys: n=1000  out=samples/NAME (an empty or new folder)  seed=0  device=auto  trust=false. The i-th image is\n"
        "the same for every n. A generator file (TorchScript, torch.export) is a program: trust=true runs what its\n"
        "author wrote, and without it such a file is refused. docs/generators.md names the kinds of generators.\n",
        module="sample",
    ),
    "list": Verb(
        "Lists what there is, what each needs, and whether its weights are on this machine.",
        "genaudit list metrics|feature_models|presets|references|generators|datasets|tables [NAME of a metric]",
        "genaudit list metrics\ngenaudit list metrics fd\ngenaudit list feature_models",
        "`genaudit list metrics NAME` tells all of one metric: values, settings, needs, cost, source. NAME may be a\n"
        "value's name too, such as recall.\n",
        module="listing",
        bare_key="what",
        second_key="name",
        takes_second=True,
    ),
    "cache": Verb(
        "Shows where the row store is and how big, by measure; prunes, verifies and compacts it.",
        "genaudit cache [prune|verify|compact] [older_than=DAYS] [measure=NAME] [store=DIR]",
        """
genaudit cache
genaudit cache prune older_than=90
genaudit cache prune measure=dinov2
genaudit cache verify
genaudit cache compact
""",
        """\
  prune                 removes rows for good: those written more than older_than=DAYS ago, those of measure=NAME, or of
                        both where both are given
  verify                reads every shard; a damaged one is set aside (exit code 2), its images are measured again
  compact               writes the rows of many small shards into few large ones, each image's once
  measure=NAME          a part of the measure's name as `genaudit cache` shows it, or the start of its fingerprint
  store=DIR             another row store than the user's (GENAUDIT_STORE)

All of it may run while other processes measure. prune, verify and compact remove the temporary files of processes that
were killed more than a day ago.

""",
        module="cache",
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
  genaudit --version                      # of genaudit and of what its numbers depend on
  eval "$(genaudit --completion bash)"    # or zsh; fish: genaudit --completion fish | source
"""
)
