"""`genaudit moments` and the files of other tools as a reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genaudit
from genaudit.cli import main
from genaudit.data import Moments, open_images
from genaudit.data.array_files import MomentsFile
from genaudit.errors import DONE, USER
from genaudit.tasks import moments as task


def _fd(out: Path, *arguments: str) -> tuple[float, list[dict[str, Any]]]:
    assert main(["evaluate", *arguments, "metric=[fd]", f"out={out}"]) == DONE
    document = json.loads((out / "report.json").read_text())
    return document["metrics"]["fd"]["values"]["fd"]["value"], document["warnings"]


def _codes(warnings: list[dict[str, Any]]) -> set[str]:
    return {warning["code"] for warning in warnings}


@pytest.mark.parametrize("count", [30, 150])  # fewer and more images than the network's 96 features
def test_fd_from_moments_is_fd_from_images(
    count: int, make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    generated, reference = make_images("gen", count, seed=1), make_images("ref", count, seed=2)
    file = tmp_path / "ref.npz"
    assert main(["moments", str(reference), f"out={file}", *tiny]) == DONE
    from_images, _ = _fd(tmp_path / "a", str(generated), f"reference={reference}", *tiny)
    from_moments, warnings = _fd(tmp_path / "b", str(generated), f"reference={file}", *tiny)
    # Fewer images than features: the roots of eigenvalues that are 0 up to rounding, 1e-16 of the largest, enter
    # with 1e-8 of it each.
    assert from_moments == pytest.approx(from_images, rel=1e-9 if count > 96 else 1e-5)
    assert not _codes(warnings) & {"moments-of-other-features", "moments-of-unknown-features"}


def test_the_file_says_where_its_moments_come_from(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "ref.npz"
    assert main(["moments", str(make_images("ref", 8)), f"out={file}", *tiny]) == DONE
    with np.load(file) as held:  # as pytorch-fid reads it
        assert held["mu"].shape == (96,)
        assert held["sigma"].shape == (96, 96)
        assert held["mu"].dtype == held["sigma"].dtype == np.float64
        assert int(held["n"]) == 8
        assert str(held["feature_model"]) == "test_resnet"
        assert len(str(held["weights_sha256"])) == 64
        assert str(held["genaudit"]) == genaudit.__version__
        assert len(str(held["digest"])) == 32
        assert str(held["precision"]) == "float32"
        assert json.loads(str(held["preparation"]))["resize"]["size"] == 32
    opened = open_images(file, role="reference")
    assert isinstance(opened, Moments)
    assert opened.n == 8
    assert opened.about["feature_model"] == "test_resnet"
    assert [path.name for path in file.parent.iterdir()] == ["ref.npz"]  # no temporary file is left


def test_moments_of_another_network_or_preparation_are_refused(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, file = str(make_images("gen", 8, seed=1)), tmp_path / "ref.npz"
    words = ["evaluate", generated, f"reference={file}", "metric=[fd,vendi]", *tiny]
    larger = [key for key in tiny if not key.startswith("feature_model.size")] + ["feature_model.size=48"]
    reference = str(make_images("ref", 8, seed=2))
    for keys, said in (
        (larger, "prepared for test_resnet otherwise than in this run (size 48, here 32)"),
        ([*tiny, "feature_model.weight_seed=1"], "and this run measures with test_resnet (weights "),
    ):
        assert main(["moments", reference, f"out={file}", *keys]) == DONE
        assert main(words) == USER
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1 or "Traceback" not in error


def test_moments_of_one_of_several_networks_are_for_that_one(make_images: Callable[..., Path], tmp_path: Path) -> None:
    generated, file = str(make_images("gen", 8, seed=1)), tmp_path / "ref.npz"
    assert (
        main(["moments", str(make_images("ref", 8)), f"out={file}", "feature_model=pixels", "feature_model.size=8"])
        == DONE
    )
    keys = [
        "feature_model=[pixels,random]",
        "feature_model.pixels.size=8",
        "metric=[fd]",
        f"reference={file}",
        f"out={tmp_path / 'out'}",
    ]
    config = tmp_path / "configs" / "feature_model"
    config.mkdir(parents=True)
    (config / "random.yaml").write_text(
        "_target_: genaudit.backbones.timm_model.TimmModel\nname: test_resnet\npretrained: false\nsize: 32\n"
    )
    assert main(["evaluate", generated, *keys, "--config-dir", str(tmp_path / "configs")]) == DONE
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(document["metrics"]) == ["fd@pixels"]
    assert "holds moments of pixels" in document["skipped_metrics"]["fd@random"]


def test_another_precision_of_the_same_network_is_said(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    generated, file = make_images("gen", 8, seed=1), tmp_path / "ref.npz"
    assert main(["moments", str(make_images("ref", 8)), f"out={file}", "precision=float64", *tiny]) == DONE
    _, warnings = _fd(tmp_path / "a", str(generated), f"reference={file}", *tiny)
    (said,) = [each["message"] for each in warnings if each["code"] == "moments-of-other-features"]
    assert "another precision" in said


def test_moments_of_another_tool_carry_a_caution(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    np.savez_compressed(tmp_path / "stats.npz", mu=np.zeros(96), sigma=np.eye(96))
    _, warnings = _fd(tmp_path / "a", str(make_images("gen", 8)), f"reference={tmp_path / 'stats.npz'}", *tiny)
    assert "moments-of-unknown-features" in _codes(warnings)


def test_files_of_pytorch_fid_clean_fid_and_adm_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4))
    mu, sigma = rows.mean(0), np.cov(rows, rowvar=False)
    np.savez_compressed(tmp_path / "pytorch_fid.npz", mu=mu, sigma=sigma)  # pytorch-fid --save-stats
    np.savez_compressed(tmp_path / "real_clean_custom_na.npz", mu=mu, sigma=sigma)  # cleanfid.make_custom_stats
    np.savez_compressed(tmp_path / "real_clean_custom_na_kid.npz", feats=rows.astype(np.float32))
    images = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    wide = np.ones(6), np.eye(6)
    np.savez(
        tmp_path / "VIRTUAL_set256.npz",
        arr_0=images,
        mu=mu.astype(np.float32),
        sigma=sigma,
        mu_s=wide[0],
        sigma_s=wide[1],
    )  # guided-diffusion's reference batches
    for name in ("pytorch_fid", "real_clean_custom_na"):
        opened = open_images(tmp_path / f"{name}.npz", role="reference")
        assert isinstance(opened, Moments)
        np.testing.assert_array_equal(opened.sigma, sigma)
    features = open_images(tmp_path / "real_clean_custom_na_kid.npz", role="reference")
    np.testing.assert_array_equal(features.features, rows.astype(np.float32))  # type: ignore[union-attr]
    batch = tmp_path / "VIRTUAL_set256.npz"
    assert len(open_images(batch, role="reference")) == 3  # type: ignore[arg-type] # as images,
    moments = open_images(MomentsFile(str(batch)), role="reference")  # as moments of pooled features,
    np.testing.assert_allclose(moments.mu, mu, rtol=1e-6)  # type: ignore[union-attr]
    assert moments.spatial.mu.shape == (6,)  # type: ignore[union-attr] # with those of spatial features beside them,
    spatial = open_images(MomentsFile(str(batch), "mu_s", "sigma_s"), role="reference")  # or as those alone
    assert spatial.mu.shape == (6,)  # type: ignore[union-attr]


def test_a_batch_with_images_and_moments_is_a_reference_by_its_moments_on_request(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    batch = tmp_path / "VIRTUAL_small.npz"
    images = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 3), dtype=np.uint8)
    np.savez(batch, arr_0=images, mu=np.full(96, 1e6), sigma=np.eye(96))
    generated = str(make_images("gen", 8))
    near, _ = _fd(tmp_path / "a", generated, f"reference={batch}", *tiny)
    far, _ = _fd(tmp_path / "b", generated, "dataset@reference=moments", f"reference.path={batch}", *tiny)
    assert near < 1e6 < far


def test_sfd_takes_the_moments_of_spatial_features_and_fd_the_others(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    generated, reference, file = make_images("gen", 12, seed=1), make_images("ref", 12, seed=2), tmp_path / "ref.npz"
    assert main(["moments", str(reference), "spatial=true", f"out={file}", *tiny]) == DONE
    found = []
    for name, given in (("images", reference), ("moments", file)):
        keys = ["metric=[fd,sfd]", f"out={tmp_path / name}", f"reference={given}", *tiny]
        assert main(["evaluate", str(generated), *keys]) == DONE
        found.append(json.loads((tmp_path / name / "report.json").read_text()))
    for metric in ("fd", "sfd"):
        images, moments = (report["metrics"][metric]["values"][metric]["value"] for report in found)
        assert moments == pytest.approx(images, rel=1e-5)  # fewer images than features, see above
    assert not _codes(found[1]["warnings"]) & {"moments-of-other-features", "moments-of-unknown-features"}


def test_sfd_is_skipped_with_a_reason_where_a_file_has_no_moments_of_spatial_features(
    make_images: Callable[..., Path], tiny: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "ref.npz"
    np.savez(file, mu=np.zeros(96), sigma=np.eye(96))
    keys = ["metric=[fd,sfd]", "skip=true", f"out={tmp_path / 'out'}", f"reference={file}", *tiny]
    assert main(["evaluate", str(make_images("gen", 8)), *keys]) == DONE
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["fd"]
    assert "mu_s and sigma_s" in report["skipped_metrics"]["sfd"]


def test_spatial_moments_of_features_are_refused(
    tiny: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "features.npz", features=np.eye(4))
    assert main(["moments", str(tmp_path / "features.npz"), "spatial=true", *tiny]) == USER
    assert "spatial=true needs images" in capfd.readouterr().err


def test_rows_are_read_in_blocks(make_images: Callable[..., Path], tiny: list[str], monkeypatch: Any) -> None:
    from genaudit.store.rows import Rows
    from genaudit.tasks.run import measuring
    from genaudit.tasks.run.from_python import compose

    monkeypatch.setattr(measuring, "IN_MEMORY_BYTES", 0)  # as for a set that does not fit
    monkeypatch.setattr("genaudit.metrics.frechet.blocks.__kwdefaults__", {"size": 7, "dtype": np.float64})
    read: list[int] = []
    inner = Rows._read

    def counted(self: Rows, index: np.ndarray) -> np.ndarray:
        read.append(len(index))
        return inner(self, index)

    monkeypatch.setattr(Rows, "_read", counted)
    contents, _ = task.compute(compose("moments", tiny), str(make_images("ref", 30)))
    assert int(contents["n"]) == 30
    assert max(read) == 7


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "needs images"), (["{images}", "out=file.pt"], "ends in .npz"), (["{moments}"], "already")],
)
def test_what_a_user_can_mend_is_said(
    arguments: list[str],
    said: str,
    make_images: Callable[..., Path],
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.savez(tmp_path / "m.npz", mu=np.zeros(2), sigma=np.eye(2))
    places = {"images": str(make_images("ref", 3)), "moments": str(tmp_path / "m.npz")}
    assert main(["moments", *(each.format(**places) for each in arguments), *tiny]) == USER
    assert said in capsys.readouterr().err
