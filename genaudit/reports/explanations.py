"""What each known metric says, in a line, for readers who don't know it by heart; others fall back to their docstring.

Keys are the metrics' and values' names in the reports. `METRICS` explains metrics, `VALUES` single values of metrics
that have several, `RANGES` the natural range of a value (the scale of its interval's bar), `COLUMNS` what
the highest and the lowest values of a per-image column mean.
"""

from __future__ import annotations

METRICS = {
    "as": "How far the clouds of complexity and vulnerability of generated and real images lie apart; "
    "sees anomalous images, blind to mode collapse and memorisation.",
    "as_i": "Vulnerability over complexity of each image; high where an image looks anomalous to the feature model.",
    "irs": "How many different training images the samples retrieve, against as many held-out real images, and which "
    "share they could reach; falls with mode collapse, blind to quality.",
    "fd": "Distance between Gaussians fitted to the features; falls with quality and diversity, blind to memorisation.",
    "fd_infinity": "The Fréchet distance that endless samples would have: the bias of few is extrapolated away.",
    "sfd": "Fréchet distance of feature maps with their positions; sees where things are, which pooled features "
    "forget, blind to memorisation.",
    "kd": "Squared kernel distance between the features, unbiased (it may be slightly negative); falls with quality "
    "and diversity, usable with few images, blind to memorisation.",
    "cmmd": "Squared kernel distance with a Gaussian kernel on CLIP's embeddings, biased upward in small sets; falls "
    "with quality and diversity, blind to memorisation.",
    "swd": "Transport cost between the features along random directions; zero only for equal laws, blind to "
    "memorisation.",
    "mind": "Transport cost between the features along random directions, on the scale of the Fréchet distance; needs "
    "fewer images, blind to memorisation.",
    "is": "Whether a classifier is sure of each sample and finds all classes; no real image enters, blind to "
    "variety within classes and to memorisation.",
    "prdc": "Neighbourhood overlap: precision and density speak of quality, recall and coverage of diversity; "
    "blind to memorisation.",
    "realism": "How well inside the real images' neighbourhoods each sample lies; 1 or more is inside; quality alone, "
    "blind to diversity.",
    "rarity": "How sparse the real images are around each sample that lies among them; neither high nor low is better.",
    "vendi": "Effective number of different images among the samples; diversity alone, blind to quality.",
    "fkea": "Effective number of modes among the samples at a kernel's width; diversity alone, blind to quality.",
    "mifid": "Fréchet distance, divided by the samples' mean distance to the training images where that is small: "
    "high where training images are copied.",
    "fld": "How well samples, as centres of a density fitted to the training images, explain unseen real images; rises "
    "with lost quality, lost diversity and memorisation alike.",
    "authpct": "Percent of samples that are not closer to their nearest training image than that one's own neighbour; "
    "low where training images are copied.",
    "train_distance": "Percent of samples nearer to a training image than 99 % of unseen real images are; about 1 is "
    "honest, high where some training images are copied.",
    "ct": "Whether samples lie closer to the training images than unseen real images do; below 0 points to copying, "
    "above 0 to underfitting.",
    "llr": "How well log-likelihoods tell the model's own kind of images from others: raw, at the last scale, and as a "
    "ratio to a general model; the controls are the ratio without the density model.",
    "piad": "Perceptual reconstruction error of an anomaly detector trained on real images; high where an image looks "
    "unlike them.",
    "inversion": "How near the generator comes to real images, beside its own: whether they lie on its manifold; "
    "sees what it cannot make, blind to how often it makes what it can.",
    "typicality": "Share of batches of real images whose mean log-likelihood is typical of the generator; too likely "
    "is atypical too.",
    "ppl": "How much images change along short steps between latent vectors; low where the latent space is smooth.",
    "ais": "Log-likelihood of images under the generator by annealed importance sampling; a lower bound.",
    "flatness": "Whether the generator finds flat images likely: correlation of local variation with log-likelihood.",
}

VALUES = {
    "as_i_mean": "mean over images",
    "as_i_median": "median over images",
    "irs_relative": "different training images, relative to as many held-out real images",
    "irs_alpha": "retrieved share at this number of samples",
    "irs_inf": "estimated share with endless samples, if the model draws evenly",
    "irs_chao1": "the same for uneven draws (Chao's lower bound)",
    "irs_inf_reference": "the same for real held-out images",
    "irs_inf_adjusted": "relative to real held-out images",
    "inception_score": "mean over splits",
    "inception_score_unsplit": "all samples at once",
    "realism_median": "radius over distance, median",
    "realistic": "share inside a neighbourhood",
    "rarity_mean": "mean over samples that have one",
    "fkea_vendi": "Vendi score, order 1",
    "fkea_rke": "RKE score, order 2",
    "fld_gap": "density at training minus unseen images",
    "precision": "samples near real images",
    "recall": "real images near samples",
    "density": "real neighbourhoods a sample lies in",
    "coverage": "real images with a sample nearby",
    "near_copies": "percent of samples, about 1 for real images",
    "train_distance_ratio": "median, over that of real images",
    "piad_mean": "mean over images",
    "auroc": "anomalies above normal images",
    "error_generated": "median over generated images",
    "error_train": "median over training images",
    "error_reference": "median over reference images",
    "error_anomalies": "median over anomalies",
    "error_ratio": "real over generated images",
    "auroc_train": "real images distinguished from generated ones by their error",
    "auroc_anomalies": "anomalies distinguished from in-distribution images",
    "sigma2": "observation noise that suits the training images",
    "psnr": "of that noise, in decibel",
    "bits_generated": "bits per dimension of generated images, higher is likelier",
    "bits_train": "of training images",
    "bits_reference": "of reference images",
    "bits_anomalies": "of anomalies",
    "typical_fraction_10": "batches of 10 images",
    "typical_fraction_25": "batches of 25 images",
    "typical_fraction_50": "batches of 50 images",
    "typical_fraction_75": "batches of 75 images",
    "spearman": "by ranks",
    "pearson": "linear",
    "auroc_raw": "by log-likelihood alone",
    "auroc_last_scale": "by the last scale alone",
    "auroc_ratio": "by the ratio to a general model",
    "auroc_ratio_code": "by the ratio to a code length",
    "auroc_general": "control: by the general model alone",
    "auroc_code": "control: by code length alone",
}

SHARES = (
    *("as", "irs_alpha", "irs_inf", "irs_chao1", "irs_inf_reference", "precision", "recall", "coverage", "realistic"),
    *("auroc", "auroc_raw", "auroc_last_scale", "auroc_ratio", "auroc_train", "auroc_anomalies"),
    *("auroc_ratio_code", "auroc_general", "auroc_code"),
    *(f"typical_fraction_{size}" for size in (10, 25, 50, 75)),
)
RANGES = {name: (0.0, 1.0) for name in SHARES} | {
    "authpct": (0.0, 100.0),
    "spearman": (-1.0, 1.0),
    "pearson": (-1.0, 1.0),
}

COLUMNS = {
    "as_i": ("Most anomalous", "Least anomalous"),
    "piad": ("Most anomalous", "Least anomalous"),
    "inversion_error": ("Recovered worst", "Recovered best"),
    "log_likelihood": ("Likeliest", "Least likely"),
    "realism": ("Most realistic", "Least realistic"),
    "rarity": ("Rarest", "Most common"),
    "complexity": ("Most complex", "Least complex"),
    "vulnerability": ("Most vulnerable", "Least vulnerable"),
    "llr": ("Most like the density model's images", "Least like the density model's images"),
    "log_prob": ("Highest log-likelihood", "Lowest log-likelihood"),
}


def explain(metric: str, summary: str = "") -> str:
    """The line for a metric; `summary` (its result class' docstring) where the metric is not known here."""
    return METRICS.get(metric, summary)
