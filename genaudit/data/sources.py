"""`open_images`: every kind of source that a user may name, as an ImageSet, a FeatureSet or Moments."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from genaudit.data.archive import list_tar, list_zip
from genaudit.data.array_files import ARRAY_EXTENSIONS, PICKLES, open_array_file
from genaudit.data.arrays import Layout, is_features, is_tensor, list_array, numbers_of
from genaudit.data.braces import expand, has_braces
from genaudit.data.columns import Labelled
from genaudit.data.features import FeatureSet, Moments, feature_set
from genaudit.data.folder import extension, home, list_folder, matches_of, start_of
from genaudit.data.formats import EXTENSIONS, looks_like
from genaudit.data.huggingface_source import list_huggingface
from genaudit.data.ignored import kind_of, why_ignored
from genaudit.data.image_set import (
    ImageSet,
    Listing,
    OnError,
    Policy,
    Progress,
    join,
    scan,
)
from genaudit.data.listing import LISTS, names_of_list
from genaudit.data.objects import draw, draw_loader, is_loader, list_dataset, may_hold_image
from genaudit.data.reader import FileReader
from genaudit.errors import UserError
from genaudit.reading import check_regular
from genaudit.stats.bounds import positive_int

KINDS = (
    "a folder, an image file, a .zip or .tar of images (.tar.gz too), .npz .npy .pt .safetensors .h5, "
    "statistics of other tools in a .pkl, "
    "a .csv, .tsv, .txt or .jsonl list of files or shards, or a glob or brace pattern"
)
TARS = (".tar", ".tgz", ".tbz2", ".tbz", ".txz", ".tzst", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")


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
    if limit is not None:
        positive_int("limit", limit, error=UserError)
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
        return _open_path(os.fspath(source), policy)
    if isinstance(source, Labelled):
        found = _find(source.images, policy, draws, seed)
        if isinstance(found, (Listing, FeatureSet)):
            return replace(found, columns=source.checked(len(found.names)))
        raise UserError(f"{role}: labels belong to images or features, not to a {type(source.images).__name__}.")
    if isinstance(source, np.ndarray) or is_tensor(source):
        if is_features(source):
            return feature_set(numbers_of(source, role), role, _describe(source), role)
        return list_array(source, role, role, _usual(source))
    if isinstance(source, Sequence) and not source:
        raise UserError(f"{role}: the list of paths is empty, or that of images.")
    if isinstance(source, Sequence) and all(isinstance(item, (str, os.PathLike)) for item in source):
        return join(_listings([os.fspath(item) for item in source], policy))
    if isinstance(source, Sequence) and (axes := _common_axes(source)) is not None:
        if axes == 1:
            return _find(np.stack([numbers_of(row, role) for row in source]), policy, draws, seed)
        return join(("", list_array(each, f"{role}[{i}]", role, _usual(each))) for i, each in enumerate(source))
    if is_loader(source):
        return draw_loader(source, role)
    if _is_huggingface(source):
        return list_huggingface(source, label=type(source).__name__)
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


def _open_path(text: str, policy: Policy) -> Listing | FeatureSet | Moments:
    try:
        return _open_kind(text, policy)
    except OSError as error:  # no permission, a name that is too long, a network drive that is gone
        where = f" at {error.filename}" if error.filename not in (None, text) else ""
        raise UserError(f"{policy.role}: {text} cannot be read{where} ({error.strerror or error}).") from error


def _open_kind(text: str, policy: Policy) -> Listing | FeatureSet | Moments:
    role = policy.role
    if not text.strip():
        raise UserError(f"{role}= is empty: a path is needed. Give {KINDS}.")
    path = home(text)
    kind = path.suffix.lower()
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        return _open_missing(text, path, policy)
    check_regular(path)
    if kind in EXTENSIONS:
        return Listing([path.name], FileReader(path.parent, [path.name]))
    if path.name.lower().endswith((".zip", *TARS)):
        return _open_archive(path, policy)
    if kind in ARRAY_EXTENSIONS or kind in PICKLES:
        return open_array_file(path, role)
    if kind in LISTS:
        return _open_list(path, policy)
    if looks_like(start_of(os.fspath(path))):  # named by its path, a file need not have an image's extension
        return Listing([path.name], FileReader(path.parent, [path.name]))
    raise UserError(f"{role}: {text} is of no kind that can be read. Give {KINDS}.")


def _open_missing(text: str, path: Path, policy: Policy) -> Listing | FeatureSet | Moments:
    """What a path that does not exist may stand for: braces, members of an archive, a glob pattern."""
    if has_braces(text):
        paths = expand(text, policy.role)
        if len(paths) > 1:
            return join(_listings(paths, policy))
    inside = _archive_above(path)
    if inside is not None:
        archive, pattern = inside
        found = _open_archive(archive, policy, partial(_fits, pattern))
        if not found.names:
            raise UserError(f"{policy.role}: {text} matches no image of {archive}.")
        return found
    if glob.has_magic(text):
        return _open_pattern(os.fspath(path), policy)
    raise UserError(f"{policy.role}: {text} does not exist. Give {KINDS}.")


def _archive_above(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the rest of the path."""
    for parent in path.parents:
        if parent.name.lower().endswith((".zip", *TARS)) and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def _open_archive(path: Path, policy: Policy, fits: Callable[[str], bool] | None = None) -> Listing:
    if path.suffix.lower() == ".zip":
        return list_zip(path, policy.role, policy.max_pixels, fits)
    return list_tar(path, policy.role, policy.max_pixels, fits)


def _fits(pattern: str, name: str) -> bool:
    """Whether a member lies in a folder, or fits a pattern: of whole paths, or (without "/") of base names."""
    if not glob.has_magic(pattern):
        return name == pattern or name.startswith(f"{pattern}/")
    return fnmatch.fnmatchcase(name if "/" in pattern else name.rpartition("/")[2], pattern)


def _open_list(path: Path, policy: Policy) -> Listing:
    """Images and shards that a list names; image files keep the names that the list gives them."""
    names, ignored, columns = names_of_list(path, policy.role)
    if not any(_is_shard(name) for name in names):
        return Listing(names, FileReader(path.parent, names), ignored, columns=columns)
    joined = join(_listings([os.path.join(path.parent, os.path.expanduser(name)) for name in names], policy))
    return replace(joined, ignored=Counter(joined.ignored) + ignored)


def _is_shard(name: str) -> bool:
    lower = name.lower()
    return lower.endswith((".zip", *TARS, *ARRAY_EXTENSIONS)) or has_braces(name)


def _is_huggingface(source: Any) -> bool:
    """Whether an object is a dataset of Hugging Face's library: its bytes are read, by the rules of files."""
    if not (hasattr(source, "cast_column") and hasattr(source, "features") and hasattr(source, "__len__")):
        return False
    return getattr(source, "format", {}).get("type") in (None, "numpy", "torch")


def _open_pattern(pattern: str, policy: Policy) -> Listing | FeatureSet | Moments:
    """What a glob pattern matches, in the order of the paths.

    `FOLDER/*` may match labels and logs beside the images: what is no source is ignored and counted, lists of files
    too unless the pattern ends like one. With `**`, which matches each file by itself, folders are passed over.
    """
    matches = sorted(matches_of(pattern, recursive=True))
    if not matches:
        raise UserError(f"{policy.role}: no file matches {pattern}. Give {KINDS}.")
    kinds = {*EXTENSIONS, ".zip", *ARRAY_EXTENSIONS, extension(pattern)} - {""}
    paths: list[str] = []
    ignored: Counter[str] = Counter()
    for match in matches:
        if os.path.isdir(match):
            paths += [] if "**" in pattern else [match]
        elif extension(match) in kinds or match.lower().endswith(TARS):
            paths.append(match)
        else:
            ignored[why_ignored(os.path.basename(match), partial(start_of, match))] += 1
    if len(paths) == 1:
        found = _open_path(paths[0], policy)
        return replace(found, ignored=Counter(found.ignored) + ignored) if isinstance(found, Listing) else found
    joined = join(_listings(paths, policy))
    return replace(joined, ignored=Counter(joined.ignored) + ignored)


def _listings(paths: Sequence[str], policy: Policy) -> Iterator[tuple[str, Listing]]:
    """The listings of several paths with the prefixes of their names; files in a row as one."""
    files: list[str] = []
    for text in paths:
        path = home(text)
        if path.suffix.lower() in EXTENSIONS and not path.is_dir():
            if not path.exists():
                raise UserError(f"{policy.role}: {text} does not exist.")
            files.append(os.fspath(path))
        else:
            if files:
                yield "", Listing(files, FileReader("", files))
                files = []
            found = _open_path(text, policy)
            if not isinstance(found, Listing):
                raise UserError(f"{policy.role}: {text} holds no images, and a list of sources takes images only.")
            in_array = bool(found.names) and found.names[0].startswith(f"{path.name}[")
            yield "" if in_array else f"{text.rstrip('/')}/", found
    if files:
        yield "", Listing(files, FileReader("", files))


def _describe(source: Any) -> str:
    if isinstance(source, (str, os.PathLike, Source)):
        return str(source)
    if isinstance(source, np.ndarray) or is_tensor(source):
        return f"{type(source).__name__} {tuple(source.shape)} {str(source.dtype).removeprefix('torch.')}"
    if isinstance(source, Sequence) and source and not isinstance(source[0], (str, os.PathLike)):
        return f"{type(source).__name__} of {len(source):,} items of type {type(source[0]).__name__}"
    if isinstance(source, Sequence):
        first = ", ".join(str(item) for item in source[:3])
        return first if len(source) <= 3 else f"{first} and {len(source) - 3:,} more"
    return str(getattr(source, "__name__", type(source).__name__))


def _found_instead(listing: Listing) -> str:
    looked = f"Looked for {', '.join(extension[1:] for extension in EXTENSIONS)}"
    if not listing.ignored:
        return f"{looked}; found nothing else either."
    ranked = sorted(listing.ignored.items(), key=lambda item: (-item[1], item[0]))
    found = ", ".join(f"{count:,} {kind_of(reason)}" for reason, count in ranked[:5])
    archives = [name for name in (".tar", ".zip", ".npz") if any(reason.endswith(name) for reason in listing.ignored)]
    hint = f" To read the archives in it, give the pattern `*{archives[0]}` inside it." if archives else ""
    return f"{looked}; found {found} instead.{hint}"
