"""The names of the 33 sectors."""

from __future__ import annotations

from apex_tasks.market.sectors import sector_names


def test_all_33_sectors_have_two_names_of_their_own() -> None:
    names = sector_names()
    assert len(names) == 33
    assert list(names) == sorted(names)
    assert all(
        (len(code) == 4 and code.isdigit() and code.endswith("50")) or code in OTHERS for code in names
    )
    assert (
        len({name.japanese for name in names.values()})
        == len({name.english for name in names.values()})
        == 33
    )
    assert names["3650"] == ("電気機器", "Electric Appliances")


OTHERS = {
    "3100",
    "3200",
    "3300",
    "3400",
    "3500",
    "3600",
    "3700",
    "3800",
    "5100",
    "5200",
    "6100",
    "7100",
    "7200",
}
