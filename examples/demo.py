"""The main job, end to end, with nothing but imgmove: registry → archive → layout → registry.

Starts imgmove's own registry on a free port of this machine, puts a small image with two platforms and an SBOM into it,
and moves it round, through the same Python API that the command line uses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from examples_image import build

import imgmove
from imgmove.server import Exchange, HttpServer, Listener, MemoryRepositories, Registry


def main() -> None:
    """Runs the demo and prints what it did."""
    asked: list[Exchange] = []
    storage = MemoryRepositories()
    with (
        tempfile.TemporaryDirectory(prefix="imgmove-demo-") as folder,
        HttpServer(Registry(storage), Listener(), log=asked.append) as server,
    ):
        registry = server.host
        archive, layout = Path(folder) / "app.tar", Path(folder) / "layout"
        digest = build(storage.make("demo/app"), "1")
        print(f"imgmove's own registry runs at {registry}; it holds demo/app:1")
        print(f"  {digest}")

        step("registry → archive", f"imgmove save {registry}/demo/app:1 -o app.tar")
        moved = imgmove.save(f"{registry}/demo/app:1", str(archive))
        tell(moved, digest)

        step("archive → layout", "imgmove copy ./app.tar oci:layout:demo/app:1")
        tell(imgmove.copy(str(archive), f"oci:{layout}:demo/app:1"), digest)

        step("layout → registry, as another repository", f"imgmove copy oci:layout:demo/app:1 {registry}/prod/app:1")
        tell(imgmove.copy(f"oci:{layout}:demo/app:1", f"{registry}/prod/app:1"), digest)

        step("the same again", f"imgmove copy oci:layout:demo/app:1 {registry}/prod/app:1")
        asked.clear()
        tell(imgmove.copy(f"oci:{layout}:demo/app:1", f"{registry}/prod/app:1"), digest)
        print(f"  the registry was asked {len(asked)} time{'s' * (len(asked) != 1)}; nothing was sent")

        step("are they the same?", f"imgmove verify {registry}/demo/app:1 {registry}/prod/app:1")
        report = imgmove.verify(f"{registry}/demo/app:1", f"{registry}/prod/app:1")
        report.raise_differences()
        found = report.images[1].verified
        print(f"  yes: {len(found.nodes)} manifests and {len(found.blobs)} blobs read and hashed on both sides")
        print(f"  {len(found.referrers)} SBOM came along")


def step(what: str, command: str) -> None:
    """Announces a step, with the command that does the same."""
    print(f"\n{what}\n  $ {command}")


def tell(report: imgmove.CopyReport, digest: object) -> None:
    """Prints where an image went, and makes sure that it is still the same."""
    report.raise_failures()
    totals = report.totals
    for image in report.images:
        if image.digest != digest:
            raise SystemExit(f"the digest changed to {image.digest}")
        print(f"  {image.status}: {image}")
    print(f"  {totals.blobs_sent} blobs sent, {totals.blobs_mounted} mounted, {totals.blobs_present} there already")


if __name__ == "__main__":
    main()
