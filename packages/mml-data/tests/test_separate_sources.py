from dataclasses import dataclass
from pathlib import Path

from mml_data.importers.separate_sources import SeparateSources, given_files


@dataclass(frozen=True)
class Numbers:
    """Source that is divided into parts of consecutive numbers."""

    origin: str
    values: tuple[int, ...]
    units = {"targets.gap": "eV"}  # noqa: RUF012

    def describe(self):
        return {"origin": self.origin, "format": "numbers", "files": 2, "passed_over": [self.origin]}

    def parts(self, count):
        size = -(-len(self.values) // count)
        return [
            Numbers(self.origin, self.values[start : start + size])
            for start in range(0, len(self.values), size)
        ]

    def read(self, start=0):
        yield from [
            (str(value), {"value": value, "extra": {"source": self.origin}}) for value in self.values
        ][start:]
        yield "bad", ValueError("bad")


def test_parts_know_their_split(tmp_path):
    made = SeparateSources(
        [
            ("train", tmp_path / "one" / "a.xyz", Numbers("a.xyz", (1, 2, 3))),
            ("test", tmp_path / "two" / "a.xyz", Numbers("a.xyz", (4,))),
        ]
    )
    parts = made.parts(2)
    assert made.splits_of_parts == ["train", "train", "test"]
    items = [(item["value"], item["extra"]["source"]) for part in parts for _, item in list(part.read())[:-1]]
    assert items == [(1, "one/a.xyz"), (2, "one/a.xyz"), (3, "one/a.xyz"), (4, "two/a.xyz")]
    assert len(made.parts(1)) == len(made.splits_of_parts) == 2


def test_names_of_one_folder_are_kept(tmp_path):
    made = SeparateSources([(name, tmp_path / f"{name}.xyz", Numbers(f"{name}.xyz", (1,))) for name in "ab"])
    assert [next(part.read())[1]["extra"]["source"] for part in made.parts(1)] == ["a.xyz", "b.xyz"]


def test_folders_are_distinguished(tmp_path):
    (tmp_path / "train").mkdir()
    made = SeparateSources(
        [
            ("train", tmp_path / "train", Numbers("x.xyz", (1,))),
            ("val", tmp_path / "x.xyz", Numbers("x.xyz", (1,))),
        ]
    )
    assert [next(part.read())[1]["extra"]["source"] for part in made.parts(1)] == ["train/x.xyz", "x.xyz"]


def test_description_has_all_sources(tmp_path):
    made = SeparateSources([(name, tmp_path / name, Numbers(name, (1,))) for name in ("train", "test")])
    assert made.describe() == {
        "origin": "train, test",
        "format": "numbers",
        "files": 4,
        "sources": [
            {"split": name, "origin": name, "format": "numbers", "files": 2} for name in ("train", "test")
        ],
        "passed_over": ["train", "test"],
    }
    assert made.units == {"targets.gap": "eV"}


def test_files_are_listed():
    assert given_files({"train": ["a", Path("b")], "val": None, "test": "c"}) == [
        ("train", Path("a")),
        ("train", Path("b")),
        ("test", Path("c")),
    ]
