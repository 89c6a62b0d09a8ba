"""Every network has as many parameters as its printed rows add up to; the sums themselves are known numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from genaudit.recipe import Context
from genaudit_papers.published import published
from genaudit_papers.tuluptceva2019.piad_parameters import BUILT, NETWORKS, PIADParameters, counted

# counted by hand from the tables: generator, encoder, image critic, latent critic
KNOWN = {
    ("mnist", 1): (90_433, 73_280, 72_769, 20_865),
    ("mnist", 3): (90_499, 73_856, 73_345, 20_865),
    ("cifar10", 3): (2_897_539, 2_338_304, 571_137, 1_313_793),
    ("lsun", 3): (427_011, 373_152, 363_905, 5_249_025),
    ("celeba", 3): (435_075, 366_976, 363_905, 82_689),
}


@pytest.mark.parametrize(("name", "channels", "table"), BUILT)
def test_the_printed_rows_add_up_to_the_known_counts(name: str, channels: int, table: str) -> None:
    rows = published("tuluptceva2019", table)
    assert tuple(counted(rows, network, channels) for network in NETWORKS) == KNOWN[name, channels]


def test_every_network_is_reproduced_and_a_wrong_count_is_not(tmp_path: Path) -> None:
    table = PIADParameters().run(Context("laptop", tmp_path, None, tmp_path))
    assert len(table.cells) == 20
    assert {cell.verdict for cell in table.cells} == {"as expected"}
    wrong = dataclasses.replace(table.cells[0], recomputed=table.cells[0].recomputed + 1)
    assert wrong.verdict == "not as expected"
