import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mml_xpu import tiles
from mml_xpu.tiles import Card, half_idle, hierarchy, places, read_cards

machines = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(
    lambda counts: [Card(f"0000:{index:02x}:00.0", count) for index, count in enumerate(counts)]
)


def make_card(drm, name, address, *, vendor="0x8086", model="0x0bd5", xe_tiles=0, gts=0):
    """Create the files of a card as in Linux: card<n> with a link to its device on the PCI bus."""
    device = drm.parent / "pci" / address
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "device").write_text(model + "\n")
    for tile in range(xe_tiles):
        (device / f"tile{tile}").mkdir()
    folder = drm / name
    folder.mkdir(parents=True)
    (folder / "device").symlink_to(device)
    for gt in range(gts):
        (folder / "gt" / f"gt{gt}").mkdir(parents=True)


def test_read_cards_reads_sysfs(tmp_path):
    drm = tmp_path / "drm"
    make_card(drm, "card1", "0000:9a:00.0", xe_tiles=2, gts=2)
    make_card(drm, "card0", "0000:3a:00.0", gts=2)
    make_card(drm, "card2", "0000:00:02.0", model="0x7d55", gts=2)  # a client GPU: gt1 is its media engine
    make_card(drm, "card3", "0000:41:00.0", vendor="0x10de")
    (drm / "card0-DP-1").mkdir()
    (drm / "card9" / "device").mkdir(parents=True)  # has no vendor
    assert read_cards(drm) == [Card("0000:00:02.0", 1), Card("0000:3a:00.0", 2), Card("0000:9a:00.0", 2)]
    assert read_cards(tmp_path / "nothing") == []


@given(cards=machines)
def test_flat_devices_are_tiles_and_composite_devices_cards(cards):
    tiles_of = {card: card.tiles for card in cards}
    flat = places(cards, sum(tiles_of.values()), {})
    assert [(place.card, place.tiles) for place in flat] == [
        (card, (tile,)) for card in cards for tile in range(card.tiles)
    ]
    composite = places(cards, len(cards), {tiles.HIERARCHY: "composite"})
    assert [place.card for place in composite] == cards
    assert half_idle(composite, range(len(cards))) == half_idle(flat, range(len(flat))) == []
    assert places(cards, sum(tiles_of.values()) + 1, {}) is None


@given(cards=machines, data=st.data())
def test_half_idle_reports_partly_used_cards(cards, data):
    found = places(cards, sum(card.tiles for card in cards), {tiles.HIERARCHY: "COMBINED"})
    selected = data.draw(st.sets(st.integers(0, len(found) - 1), min_size=1))
    sentences = half_idle(found, selected)
    in_part = []
    for card in cards:
        own = {index for index, place in enumerate(found) if place.card == card}
        if own & selected and own - selected:
            in_part.append(card.address)
            sentence = next(s for s in sentences if card.address in s)
            assert f"devices={sorted(own)}" in sentence
            assert sentence.startswith(f"{len(own - selected)} of the {card.tiles} ")
    assert len(sentences) == len(in_part)


def test_mask_hides_devices():
    cards = [Card("0000:3a:00.0", 2), Card("0000:9a:00.0", 2)]
    found = places(cards, 2, {tiles.MASK: "3, 0"})
    assert [(place.card.address, place.tiles) for place in found] == [
        ("0000:3a:00.0", (0,)),
        ("0000:9a:00.0", (1,)),
    ]
    assert "ZE_AFFINITY_MASK hides the other tiles" in half_idle(found, [0])[0]
    assert places(cards, 1, {tiles.MASK: "0.1"}) is None, "masks of sub-devices are not interpreted"


@pytest.mark.parametrize("value", ["flat ", "", "FLAT"])
def test_hierarchy_defaults_to_flat(value):
    assert hierarchy({tiles.HIERARCHY: value}) == hierarchy({}) == "FLAT"


@pytest.mark.parametrize("value", ["TILES", "0", "FLAT,COMPOSITE"])
def test_hierarchy_rejects_unknown_value(value):
    with pytest.raises(ValueError, match="must be FLAT, COMPOSITE or COMBINED, got"):
        hierarchy({tiles.HIERARCHY: value})


def test_trainer_warns_about_idle_tiles(lightning, two_xpus, monkeypatch):
    monkeypatch.setattr(tiles, "read_cards", lambda: [Card("0000:3a:00.0", 2)])
    monkeypatch.delenv(tiles.HIERARCHY, raising=False)
    monkeypatch.delenv(tiles.MASK, raising=False)
    with pytest.warns(UserWarning, match=r"1 of the 2 compute tiles .* at 0000:3a:00.0 .* devices=\[0, 1\]"):
        trainer = lightning.pl.Trainer(accelerator="xpu", devices=[1], strategy="single_xpu", logger=False)
    assert trainer.strategy.root_device == torch.device("xpu", 1)
    assert lightning.XPUAccelerator.parse_devices("auto") == [0, 1]  # the whole card, so no warning
    monkeypatch.setenv(tiles.HIERARCHY, "TILES")
    with pytest.raises(lightning.MisconfigurationException, match="FLAT, COMPOSITE or COMBINED"):
        lightning.XPUAccelerator.parse_devices(1)
