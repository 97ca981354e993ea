"""Single decisions of the union: whiteouts, hard links, links among folders, order, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import pytest

from imgmove.errors import MalformedContent, Truncated
from imgmove.rootfs.union import unite
from tests.rootfs.layers import Entry, TarLayer, folder, members, names, tar_of, tree_of, united


def test_a_layer_alone_stays_as_it_is() -> None:
    layer = tar_of(folder("a/"), Entry("a/b", text="1"), Entry("a/c", "link", "a/b"), Entry("d" * 300))
    assert united(layer) == layer.rstrip(b"\0").ljust((len(layer.rstrip(b"\0")) + 511) // 512 * 512, b"\0") + bytes(
        1024
    )


def test_heads_that_stay_are_not_touched() -> None:
    entry = Entry("a/b", text="content", pax={"mtime": "1.000000001", "SCHILY.xattr.user.x": "y", "comment": "kept"})
    assert tar_of(entry)[:2048] in united(tar_of(entry), tar_of(folder("a/")))


def test_folders_written_before_lower_layers_added_to_them_stand_again_at_the_end() -> None:
    tar = united(tar_of(folder("a/", "old"), Entry("a/lower")), tar_of(folder("a/", "new"), Entry("a/upper")))
    assert names(tar) == ["a", "a/upper", "a/lower", "a"]
    assert {member.uname for member in members(tar) if member.isdir()} == {"new"}


def test_folders_that_nobody_can_write_to_stand_at_the_end_only() -> None:
    tar = united(tar_of(Entry("a/lower")), tar_of(folder("a/", mode=0o555), Entry("a/upper")))
    assert names(tar) == ["a/upper", "a/lower", "a"]


def test_folders_without_an_entry_get_one() -> None:
    (made_up,) = [member for member in members(united(tar_of(Entry("a/b")))) if member.isdir()]
    assert (made_up.name, made_up.mode, made_up.uid, made_up.mtime) == ("a", 0o755, 0, 0)


def test_a_hard_link_whose_file_is_deleted_becomes_the_file() -> None:
    lower = tar_of(Entry("one", text="content"), Entry("two", "link", "one"), Entry("three", "link", "one"))
    tar = united(lower, tar_of(Entry(".wh.one")))
    assert [(member.name, member.type) for member in members(tar)] == [
        ("two", tarfile.REGTYPE),
        ("three", tarfile.LNKTYPE),
    ]
    assert tree_of(tar) == {"two": ("file", "content", "three"), "three": ("file", "content", "three")}


def test_a_hard_link_to_a_lower_layer_comes_after_its_file() -> None:
    tar = united(tar_of(Entry("one", text="content")), tar_of(Entry("two", "link", "one")))
    assert names(tar) == ["one", "two"]


def test_a_name_that_is_made_again_through_a_hidden_one_stays() -> None:
    lower = tar_of(Entry("a", text="content"), Entry("b", "link", "a"), Entry("a", "link", "b"))
    assert tree_of(united(lower, tar_of(Entry("b", text="new")))) == {
        "a": ("file", "content", "a"),
        "b": ("file", "new", "b"),
    }


@pytest.mark.parametrize("target", ["real", "/real", "../real", "b/../../real"])
def test_names_through_links_of_their_layer(target: str) -> None:
    layer = tar_of(folder("real"), folder("a"), folder("a/b"), Entry("a/link", "symlink", target), Entry("a/link/x"))
    found = united(layer)
    expected = "a/real/x" if target == "real" else "real/x"
    assert expected in names(found)
    assert "a/link/x" not in names(found)


def test_a_folder_hides_the_link_of_a_lower_layer() -> None:
    tree = tree_of(united(tar_of(folder("real"), Entry("link", "symlink", "real")), tar_of(Entry("link/x"))))
    assert tree.keys() == {"real", "link", "link/x"}
    assert tree["link"][0] == "folder"


def test_absolute_names_become_relative() -> None:
    layer = tar_of(folder("/"), folder("/a"), Entry("/a/b"), Entry("c", "link", "/a/b"))
    assert names(united(layer)) == [".", "a", "a/b", "c"]
    assert members(united(layer))[-1].linkname == "a/b"


def test_headers_for_all_members_are_left_out() -> None:
    layer = tar_of(Entry("a"))
    header = bytearray(tarfile.TarInfo("pax_global_header").tobuf())
    header[156:157] = b"g"
    header[148:156] = b"        "
    header[148:156] = b"%06o\0 " % sum(header)
    assert names(united(bytes(header) + layer)) == ["a"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("../evil"), "leads out of its folder"),
        (Entry("a/../../evil"), "leads out of its folder"),
        (folder("a/.."), "leads out of its folder"),
        (Entry("a", "link", "../../etc/passwd"), "leads out of its folder"),
        (Entry("a", "link", "nothing"), "nothing, which is in no layer"),
        (Entry("a", "link", "./a"), "a, a hard link to itself"),
        (Entry("a/.wh."), "a whiteout of nothing"),
        (Entry("a/.wh..."), "a whiteout of nothing"),
    ],
    ids=str,
)
def test_what_no_tree_can_hold_is_refused(entry: Entry, message: str) -> None:
    with pytest.raises(MalformedContent, match=message) as caught:
        united(tar_of(entry))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_a_folder_too_is_refused() -> None:
    with pytest.raises(MalformedContent, match="layer 0: the layer holds a as a folder and as something else"):
        united(tar_of(Entry("a"), Entry("a/b")))
    with pytest.raises(MalformedContent, match="circle"):
        united(tar_of(Entry("a", "symlink", "b"), Entry("b", "symlink", "a"), Entry("a/x")))


def test_a_whiteout_in_what_became_a_file_takes_nothing_away() -> None:
    tree = tree_of(united(tar_of(folder("a"), Entry("a/in")), tar_of(Entry("a", text="now"), Entry("a/.wh.in"))))
    assert tree == {"a": ("file", "now", "a")}


def test_half_a_layer_is_refused() -> None:
    layer = tar_of(Entry("a", text="x" * 5000))
    for length in (100, 1000, 3000):
        with pytest.raises(Truncated):
            united(layer[:length])
    with pytest.raises(MalformedContent, match="layer 0: not a tar"):
        united(b"x" * 2000)


def test_gnu_tar_unpacks_it_with_the_times_of_folders(tmp_path: Path) -> None:
    lower = tar_of(folder("a", mode=0o555), Entry("a/lower"), folder("b"), Entry("b/lower"))
    tar = united(lower, tar_of(folder("a", mode=0o555), Entry("a/upper"), folder("b"), Entry("b/upper")))
    (tmp_path / "x").mkdir()
    subprocess.run(["tar", "-xf", "-", "-C", str(tmp_path / "x")], input=tar, check=True)
    for name in ("a", "b"):
        assert {item.name for item in (tmp_path / "x" / name).iterdir()} == {"lower", "upper"}
        assert (tmp_path / "x" / name).stat().st_mtime == 0


def chain(count: int) -> bytes:
    """A layer of links, each to the next, and last of all the file."""
    return tar_of(*(Entry(f"{number}", "link", f"{number + 1}") for number in range(count)), Entry(f"{count}"))


def calls(layer: bytes) -> int:
    """How many functions uniting a layer calls."""
    found = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal found
        found += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        unite([TarLayer(layer)], lambda _: None)
    finally:
        sys.setprofile(before)
    return found


def test_a_chain_of_links_takes_no_more_steps_a_link_the_longer_it_is() -> None:
    assert calls(chain(800)) < 3 * calls(chain(400))
    assert set(tree_of(united(chain(5))).values()) == {("file", "", tree_of(united(chain(5)))["0"][2])}


def test_links_that_wait_for_one_another_in_more_layers_than_functions_may_be_deep() -> None:
    layers = [tar_of(Entry("0", text="content"))] + [
        tar_of(Entry(f"{number + 1}", "link", f"{number}")) for number in reversed(range(1200))
    ]
    tree = tree_of(united(*layers))
    assert {text for _, text, _ in tree.values()} == {"content"}
    assert len(tree) == 1201


def test_names_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.rootfs.names.MOST_NAME_BYTES", 100)
    assert len(names(united(tar_of(*(Entry(f"{number:09}") for number in range(11)))))) == 11
    for deep in (tar_of(Entry("deep/" * 10 + "x")), tar_of(*(Entry(f"{number:09}") for number in range(12)))):
        with pytest.raises(MalformedContent, match="over the limit of 100 bytes"):
            united(deep)


def many(kind: str, count: int) -> bytes:
    """A layer of so many names; links point at what another layer has, and folders without an entry are bare."""
    if kind == "bare":
        return tar_of(*(Entry(f"{number}/x") for number in range(count)))
    return tar_of(*(Entry(f"some/folder/of/an/image/{number}", kind, "file") for number in range(count)))


def memory(kinds: Sequence[str], count: int) -> int:
    """Bytes that uniting such layers takes at most, the lowest first."""
    other = tar_of(Entry("file"), Entry("some/.wh.folder"))
    stack = [TarLayer(many(kind, count) if kind else other) for kind in reversed(kinds)]
    tracemalloc.start()
    try:
        unite(stack, lambda _: None)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("kinds", "most"),
    [
        (["file"], 250),
        (["file", ""], 250),
        (["file", "file", "file"], 350),
        (["folder", ""], 300),
        (["", "folder"], 1000),
        (["", "link"], 1800),
        (["bare"], 800),
    ],
    ids=str,
)
def test_bytes_of_memory_a_name(kinds: Sequence[str], most: int) -> None:
    # The difference leaves out what is read and written at the moment, the same for any number of names above some thousand.
    assert (memory(kinds, 8000) - memory(kinds, 4000)) / 4000 < most
