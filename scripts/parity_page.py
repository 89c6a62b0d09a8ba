"""docs/parity.md from what `parity.py` measured."""

from __future__ import annotations

from typing import Any

HEAD = """# Parity with peers

Written by `make parity` (`scripts/parity.py`); the allowed differences are asserted by `tests/test_parity.py`. Every
peer runs as its package distributes it, on the same rows or on the same images and weights. Differences are relative.
Seconds and memory are those of one call in a process of its own, without imports; memory is the peak above what was
resident before. {machine}; Python {python}, torch {torch}, scipy {scipy}. {note}
"""

ROWS = """## Equal features: {rows:,} rows of {dimensions} a role

"""

WHOLE = """## Equal images and weights: {images:,} images of {size} pixels a role

FID's Inception with random weights, drawn once; genaudit runs with the peer's preset (`preset=torch_fidelity`,
`pytorch_fid`, `clean_fid`; for torchmetrics `feature_model.preprocessing=torchmetrics`). With no more images than
features the covariances are singular: see below for what that does to peers.
genaudit's own preprocessing filters as clean-fid does, but rounds to whole levels: its FIDs differ from
all of them.

"""

WRONG = """## Where a peer is wrong

Each is a minimal example whose right value is known; `scripts/peer_defects.py` holds the code.

| what | right | peers | genaudit |
| --- | ---: | --- | ---: |
"""

CHOICES = """## Deviations that are choices, and limits

- Presets without a row: the code of `adm` (a TensorFlow script), `edm2`, `dgm_eval`, `dinov2`, `cmmd` and `fdr6` is in
  no package that could be installed here. `tests/test_presets.py`, `tests/backbones` and
  `tests/tasks/test_reference_files.py` hold networks, resizes, settings and the row of ADM's tables against arithmetic
  of the authors' definitions; what is done otherwise by design
  stands in [metrics.md](metrics.md#presets-other-tools-and-papers-numbers).
- Resizing. pytorch-fid and torch-fidelity take the four nearest pixels, so that images larger than 299 pixels alias;
  clean-fid filters with a cubic, torchmetrics with a triangle (Parmar et al. 2022), so that torchmetrics' FID is not
  torch-fidelity's although it runs its network. `feature_model.preprocessing` takes any of them.
- KID. Peers average over random subsets of 1,000 images; genaudit takes all pairs, once, without randomness. With one
  subset of all images the numbers are equal, as above.
- Precision and recall. torch-fidelity counts a point at exactly a ball's radius as inside, prdc and genaudit do not;
  it matters for copies only.
- Inception Score. The mean over ten splits of images shuffled with torch-fidelity's seed; torchmetrics shuffles again
  at each call. Of random weights it is near its least value, 1: what shows that the tools agree is the row of equal
  logits.
- MiFID. torchmetrics averages over what it is given as real images, against the paper (above); given the sets the
  other way round it has the paper's value.
- Path length. Both sides take the same network, latents and distance here, and all steps. torchmetrics otherwise leaves
  out the step above its upper percentile too, where genaudit and StyleGAN's code keep it, and shrinks images to 64
  pixels first.
- sFID, FD-infinity, CMMD, feature likelihood divergence, C_T, AuthPct, realism, rarity, sliced Wasserstein and MIND
  have no peer among these packages: `tests/metrics` proves them against closed forms, SciPy and exact arithmetic.
- pytorch-fid 0.3.0 and clean-fid 0.1.35 call `scipy.linalg.sqrtm(..., disp=False)`, which scipy 1.18 removes: they need
  an older scipy. `make parity` makes an environment for them, and the tests read what they answered
  (scripts/recorded_peers.json).
- prdc holds matrices of all pairs of images; genaudit works in tiles, and its memory does not grow with the product of
  the numbers of images.
"""


def page(document: dict[str, Any]) -> str:
    """The page."""
    parts = [HEAD.format(**document).replace(" \n", "\n"), ROWS.format(**document) + _table(document, "rows")]
    if document["images"]:
        parts.append(WHOLE.format(**document) + _table(document, "whole"))
    wrong = WRONG
    for defect in document["defects"]:
        theirs = ", ".join(f"{name} {value:.9g}" for name, value in defect["theirs"].items())
        what = " ".join(f"{defect['shown']} {defect['how']}".split())
        wrong += f"| {what} | {defect['right']:.9g} | {theirs} | {defect['ours']:.9g} |\n"
    return "\n".join([*parts, wrong, CHOICES])


def _table(document: dict[str, Any], table: str) -> str:
    """Two lines a cell where both sides have a number: narrow enough for a page."""
    text = "| metric, peer | value | peer's, genaudit's | difference | allowed | seconds | MiB |\n"
    text += "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
    reasons: list[str] = []
    for entry in document["comparisons"]:
        if entry["table"] != table:
            continue
        metric = entry["metric"] + (f" ({entry['knows']})" if entry["knows"] else "")
        head = f"{metric}<br>{entry['peer']} {entry['version']}"
        costs = [_pair(entry, "seconds", ".2f"), _pair(entry, "mebibytes", ".0f")]
        for name, each in entry["values"].items():
            reason = f"{each['allowed']:.0e}: {each['why']}"
            reasons += [] if reason in reasons else [reason]
            beyond = "" if each["difference"] <= each["allowed"] else " **beyond**"
            numbers = [f"{each['theirs']:.10g}<br>{each['ours']:.10g}", f"{each['difference']:.1e}{beyond}"]
            numbers.append(f"{each['allowed']:.0e}")
            text += f"| {' | '.join([head, name, *numbers, *costs])} |\n"
            head, costs = "", ["", ""]
    listed = "\n".join(f"- {reason}" for reason in reasons)
    return f"{text}\nSeconds and memory: the peer's, then genaudit's. Allowed:\n\n{listed}\n"


def _pair(entry: dict[str, Any], what: str, form: str) -> str:
    costs = [entry[f"{what}_{side}"] for side in ("theirs", "ours")]
    return "<br>".join("–" if cost is None else f"{cost:{form}}" for cost in costs)
