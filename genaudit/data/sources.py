"""`open_images`: every kind of source that a user may name, as an ImageSet, a FeatureSet or Moments."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genaudit.data.archive import list_tar, list_zip
from genaudit.data.array_files import ARRAY_EXTENSIONS, feature_set, open_array_file
from genaudit.data.arrays import Layout, is_features, is_tensor, list_array, to_numpy
from genaudit.data.decode import EXTENSIONS
from genaudit.data.folder import extension, home, list_folder, matches_of
from genaudit.data.image_set import (
    FeatureSet,
    ImageSet,
    Listing,
    Moments,
    OnError,
    Policy,
    Progress,
    join,
    scan,
)
from genaudit.data.listing import list_file_of_names
from genaudit.data.objects import draw, draw_loader, is_loader, list_dataset, may_hold_image
from genaudit.data.reader import FileReader
from genaudit.errors import UserError

KINDS = (
    "a folder, an image file, a .zip or uncompressed .tar of images, "
    ".npz .npy .pt .safetensors .h5, a .csv or .txt list of files, or a glob pattern"
)
_COMPRESSED_TARS = (".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


@runtime_checkable
class Source(Protocol):
    """A dataset that costs nothing until it is opened; its `str()` is its name for people.

    `open_source` returns anything else that `open_images` takes.
    """

    def open_source(self) -> Any: ...


def open_images(
    source: Any,
    *,
    role: str = "generated",
    limit: int | None = None,
    n_samples: int | None = None,
    on_error: OnError = "fail",
    max_skipped: float = 0.01,
    max_pixels: int = 100_000_000,
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageSet | FeatureSet | Moments:
    """Opens a source of images: lists them, reads each once for its digest and header, and decodes none.

    Args:
        source: a path (see KINDS; a literal path wins over a glob pattern), a list of paths, a `Source`, a NumPy
            array `(N, H, W, C)` or `(N, H, W)` or a torch tensor `(N, C, H, W)` or `(N, H, W)`, uint8 or float in
            [0, 1] (where only the other axis can hold channels, it does), a list of PIL images, arrays or tensors,
            a torch Dataset or DataLoader, feature rows `(N, D)` of floats, or a callable
            `f(n, generator) -> (n, C, H, W)`. What `open_images` returned is accepted too.
        role: the key under which the user gave the source, for messages.
        limit: take a random subset of this many usable images, drawn by content and seed, in the source's order; all
            where there are no more. Names and their order don't change which images are drawn.
        n_samples: how many images a callable draws; by default `limit`, or else 1,000.
        on_error: "fail" raises for the first image that cannot be used, "skip" leaves such images out.
        max_skipped: the largest share of images that "skip" may leave out.
        max_pixels: an image that would decode to more is refused before it is decoded.
        workers: threads that scan; the result does not depend on it.
        seed: of the generator that a callable gets.
        progress: called with (done, total) as the images are scanned.

    Returns:
        An ImageSet; a FeatureSet for an .npz with `features`; Moments for an .npz with `mu` and `sigma`.

    Raises:
        UserError: nothing there, nothing usable, or an image that cannot be used (as `on_error` says).
    """
    policy = Policy(role, on_error, max_skipped, max_pixels)
    return open_with(source, policy, limit=limit, n_samples=n_samples, workers=workers, seed=seed, progress=progress)


def open_with(
    source: Any,
    policy: Policy,
    *,
    limit: int | None = None,
    n_samples: int | None = None,
    workers: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> ImageSet | FeatureSet | Moments:
    """`open_images` with the policy as a value."""
    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, not {limit}.")
    label = _describe(source)
    while isinstance(source, Source):
        source = source.open_source()
    found = _find(source, policy, n_samples or limit, seed)
    if isinstance(found, Listing):
        if not found.names:
            raise UserError(f"{policy.role}: {label} holds no images. {_found_instead(found)}")
        found = scan(found, label, policy, workers=workers, progress=progress)
    return found if limit is None or isinstance(found, Moments) else found.limited(limit, seed)


def _find(source: Any, policy: Policy, draws: int | None, seed: int) -> Listing | ImageSet | FeatureSet | Moments:
    """What a source claims to hold, all of it; `draws` is how many images a callable draws."""
    role = policy.role
    if isinstance(source, (Listing, ImageSet, FeatureSet, Moments)):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), policy, None)
    if isinstance(source, np.ndarray) or is_tensor(source):
        if is_features(source):
            return feature_set(to_numpy(source), role, _describe(source), role)
        return list_array(source, role, role, _usual(source))
    if isinstance(source, Sequence) and not source:
        raise UserError(f"{role}: the list of paths is empty, or that of images.")
    if isinstance(source, Sequence) and all(isinstance(item, (str, os.PathLike)) for item in source):
        return join(_listings([os.fspath(item) for item in source], policy, None))
    if isinstance(source, Sequence) and (axes := _common_axes(source)) is not None:
        if axes == 1:
            return _find(np.stack([to_numpy(row) for row in source]), policy, draws, seed)
        return join(("", list_array(each, f"{role}[{i}]", role, _usual(each))) for i, each in enumerate(source))
    if is_loader(source):
        return draw_loader(source, role)
    if hasattr(source, "cast_column") and hasattr(source, "features"):
        from genaudit.data.huggingface_source import list_huggingface

        return list_huggingface(source)
    if isinstance(source, Sequence) and not may_hold_image(source[0]):
        raise _unreadable(source, role)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, Mapping):
        return list_dataset(source, role)
    if callable(source):
        return draw(source, role, draws, seed)
    raise _unreadable(source, role)


def _unreadable(source: Any, role: str) -> UserError:
    return UserError(
        f"{role}: images cannot be read from an object of type {type(source).__name__}. Give {KINDS}; or a list of "
        f"paths, of PIL images, arrays or tensors, a NumPy array (N, H, W, C), a torch tensor (N, C, H, W), feature "
        f"rows (N, D), a map-style Dataset, a DataLoader, or a callable f(n, generator)."
    )


def _usual(array: Any) -> Layout:
    return "HWC" if isinstance(array, np.ndarray) else "CHW"


def _common_axes(items: Sequence[Any]) -> int | None:
    """4 for a list of batches of images, 1 for a list of feature rows; None for anything else."""
    axes = {len(item.shape) if isinstance(item, np.ndarray) or is_tensor(item) else 0 for item in items}
    return axes.pop() if axes in ({4}, {1}) else None


def _open_path(text: str, policy: Policy, limit: int | None) -> Listing | FeatureSet | Moments:
    try:
        return _open_kind(text, policy, limit)
    except OSError as error:  # no permission, a name that is too long, a network drive that is gone
        where = f" at {error.filename}" if error.filename not in (None, text) else ""
        raise UserError(f"{policy.role}: {text} cannot be read{where} ({error.strerror or error}).") from error


def _open_kind(text: str, policy: Policy, limit: int | None) -> Listing | FeatureSet | Moments:
    role = policy.role
    if not text.strip():
        raise UserError(f"{role}= is empty: a path is needed. Give {KINDS}.")
    path = home(text)
    kind = path.suffix.lower()
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        if glob.has_magic(text):
            return _open_pattern(os.fspath(path), policy, limit)
        raise UserError(f"{role}: {text} does not exist. Give {KINDS}.")
    if kind in EXTENSIONS:
        return Listing([path.name], FileReader(path.parent, [path.name]))
    if kind == ".zip":
        return list_zip(path, role, policy.max_pixels)
    if kind == ".tar" or path.name.lower().endswith(_COMPRESSED_TARS):
        return list_tar(path, role, policy.max_pixels, limit)
    if kind in ARRAY_EXTENSIONS:
        return open_array_file(path, role, limit)
    if kind in (".csv", ".txt"):
        return list_file_of_names(path, role)
    raise UserError(f"{role}: {text} is of no kind that can be read. Give {KINDS}.")


def _open_pattern(pattern: str, policy: Policy, limit: int | None) -> Listing | FeatureSet | Moments:
    """What a glob pattern matches, in the order of the paths.

    `FOLDER/*` may match labels and logs beside the images: what is no source is ignored and counted, lists of files
    too unless the pattern ends like one. With `**`, which matches each file by itself, folders are passed over.
    """
    matches = sorted(matches_of(pattern, recursive=True))
    if not matches:
        raise UserError(f"{policy.role}: no file matches {pattern}. Give {KINDS}.")
    kinds = {*EXTENSIONS, ".zip", ".tar", *ARRAY_EXTENSIONS, Path(pattern).suffix.lower()}
    paths: list[str] = []
    ignored: Counter[str] = Counter()
    for match in matches:
        if os.path.isdir(match):
            paths += [] if "**" in pattern else [match]
        elif extension(match) in kinds:
            paths.append(match)
        else:
            ignored[extension(match)] += 1
    if len(paths) == 1:
        return _open_path(paths[0], policy, limit)
    joined = join(_listings(paths, policy, limit))
    return replace(joined, ignored=Counter(joined.ignored) + ignored)


def _listings(paths: Sequence[str], policy: Policy, limit: int | None) -> Iterator[tuple[str, Listing]]:
    """The listings of several paths with the prefixes of their names, until `limit` images; files in a row as one."""
    files: list[str] = []
    count = 0
    for text in paths:
        path = home(text)
        if path.suffix.lower() in EXTENSIONS and not path.is_dir():
            if not path.exists():
                raise UserError(f"{policy.role}: {text} does not exist.")
            files.append(os.fspath(path))
            count += 1
        else:
            if files:
                yield "", Listing(files, FileReader("", files))
                files = []
            found = _open_path(text, policy, None if limit is None else limit - count)
            if not isinstance(found, Listing):
                raise UserError(f"{policy.role}: {text} holds no images, and a list of sources takes images only.")
            in_array = bool(found.names) and found.names[0].startswith(f"{path.name}[")
            yield "" if in_array else f"{text.rstrip('/')}/", found
            count += len(found.names)
        if limit is not None and count >= limit:
            break
    if files:
        yield "", Listing(files, FileReader("", files))


def _describe(source: Any) -> str:
    if isinstance(source, (str, os.PathLike, Source)):
        return str(source)
    if isinstance(source, np.ndarray) or is_tensor(source):
        return f"{type(source).__name__} {tuple(source.shape)} {str(source.dtype).removeprefix('torch.')}"
    if isinstance(source, Sequence):
        first = ", ".join(str(item) for item in source[:3])
        return first if len(source) <= 3 else f"{first} and {len(source) - 3:,} more"
    return str(getattr(source, "__name__", type(source).__name__))


def _found_instead(listing: Listing) -> str:
    looked = f"Looked for {', '.join(extension[1:] for extension in EXTENSIONS)}"
    if not listing.ignored:
        return f"{looked}; found nothing else either."
    ranked = sorted(listing.ignored.items(), key=lambda item: (-item[1], item[0]))
    found = ", ".join(f"{count:,} {name}" for name, count in ranked[:5])
    archives = [name for name in (".tar", ".zip", ".npz") if name in listing.ignored]
    hint = f" To read the archives in it, give the pattern `*{archives[0]}` inside it." if archives else ""
    return f"{looked}; found {found} instead.{hint}"
