"""What is remembered, and that forgetting it harms nobody."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from imgmove.knowledge import KnowledgeFile
from imgmove.model.descriptor import Descriptor
from imgmove.model.digest import Digest

BLOB, RESULT = Digest.of(b"blob"), Descriptor("x/y", Digest.of(b"result"), 6)


def test_what_was_seen_is_known_in_the_next_run(tmp_path: Path) -> None:
    first = KnowledgeFile(tmp_path / "deep" / "knowledge.sqlite")
    first.saw_blob("reg", "one", BLOB)
    first.saw_blob("reg", "two", BLOB)
    first.learned_conversion(BLOB, "gzip", RESULT)
    first.close()
    first.close()
    second = KnowledgeFile(tmp_path / "deep" / "knowledge.sqlite")
    assert list(second.repositories_with("reg", BLOB)) == ["two", "one"]
    assert second.repositories_with("other", BLOB) == []
    assert second.converted(BLOB, "gzip") == RESULT
    assert second.converted(BLOB, "zstd") is None
    second.close()


def test_a_broken_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "knowledge.sqlite"
    path.write_bytes(b"not a database" * 1000)
    knowledge = KnowledgeFile(path)
    assert knowledge.converted(BLOB, "gzip") is None
    knowledge.saw_blob("reg", "one", BLOB)
    assert list(knowledge.repositories_with("reg", BLOB)) == ["one"]
    knowledge.close()


def test_documents_are_what_their_digest_says(tmp_path: Path) -> None:
    knowledge = KnowledgeFile(tmp_path / "knowledge.sqlite")
    assert knowledge.kept(BLOB) is None
    knowledge.keep(BLOB, b"blob")
    assert knowledge.kept(BLOB) == b"blob"
    knowledge.keep(BLOB, b"something else")
    assert knowledge.kept(BLOB) is None
    large = bytes(1 << 20)
    knowledge.keep(Digest.of(large), large)
    assert knowledge.kept(Digest.of(large)) is None
    knowledge.close()


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imgmove.knowledge._MOST_DOCUMENTS", 10)
    digests = [Digest.of(b"%d" % number) for number in range(20)]
    first = KnowledgeFile(tmp_path / "knowledge.sqlite")
    for number, digest in enumerate(digests):
        first.keep(digest, b"%d" % number)
    first.close()
    second = KnowledgeFile(tmp_path / "knowledge.sqlite")
    second.keep(BLOB, b"blob")
    assert second.kept(BLOB) == b"blob"
    assert second.kept(digests[0]) is None
    assert second.kept(digests[-1]) is not None
    second.close()


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    knowledge = KnowledgeFile(tmp_path / "file" / "knowledge.sqlite")
    knowledge.saw_blob("reg", "one", BLOB)
    assert knowledge.repositories_with("reg", BLOB) == []
    knowledge.close()


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    KnowledgeFile(tmp_path / "knowledge.sqlite").close()
    assert list(tmp_path.iterdir()) == []


def test_many_threads(tmp_path: Path) -> None:
    knowledge = KnowledgeFile(tmp_path / "knowledge.sqlite")

    def work(number: int) -> None:
        for count in range(100):
            knowledge.saw_blob("reg", f"r{number}", Digest.of(b"%d" % count))
            knowledge.repositories_with("reg", Digest.of(b"%d" % count))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(knowledge.repositories_with("reg", Digest.of(b"5"))) == 3
    knowledge.close()
