"""Finding out which files are volumes of one bundle, and what is wrong with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from imgmove.endpoints.bundle.joined import Fault, JoinedVolumes, VolumeFile
from imgmove.endpoints.bundle.volumes import LARGEST, VOLUME_NAME, Volume, cut, parse_volume, stated_size
from imgmove.errors import ContentError, ImgmoveError, MalformedContent, SizeMismatch, Truncated, UsageError
from imgmove.model.manifest import read_json_object
from imgmove.ports import Files, FileStatus
from imgmove.rootfs.tar import BLOCK as TAR_BLOCK
from imgmove.rootfs.tar import END, FileStream, Scan

if TYPE_CHECKING:
    from imgmove.endpoints.bundle.reader import Front


def join(files: Files, paths: Sequence[str], read_front: Callable[[Files, str], Front]) -> tuple[Front, JoinedVolumes]:
    """Looks at files that should be volumes of one bundle.

    The bundle is that of most of them; what can't be used is among `JoinedVolumes.faults`.

    Raises:
        UsageError: several whole bundles.
        ContentError, Truncated: none can be used.
    """
    fronts: dict[str, Front] = {}
    faults: list[Fault] = []
    for path in paths:
        try:
            fronts[path] = read_front(files, path)
        except (ContentError, Truncated) as error:
            if len(paths) == 1:
                raise
            faults.append(Fault(0, path, _reason(error, path)))
    if not fronts:
        raise MalformedContent(f"none of the {len(paths)} files can be read: {faults[0]}")
    ids = [front.bundle_id for front in fronts.values()]
    chosen = max(ids, key=ids.count)
    front = next(front for front in fronts.values() if front.bundle_id == chosen)
    sizes: dict[str, int] = {}
    for path, other in fronts.items():
        if other.bundle_id != chosen or other.signature != front.signature:
            faults.append(Fault(0, path, f"it belongs to another bundle ({other.bundle_id[:12]})"))
            continue
        try:
            sizes[path] = _stated_size(files, path, front)
        except (ContentError, Truncated) as error:
            faults.append(Fault(_number(files, path, front), path, _reason(error, path)))
    if not sizes:
        raise MalformedContent(f"none of the {len(paths)} files can be read: {faults[0]}")
    found, expected = _opened_all(files, sizes, front, faults)
    if not found:
        raise MalformedContent(f"no volume can be used: {faults[0]}")
    joined = JoinedVolumes(files, list(found.values()), expected, front.end)
    known = {fault.number for fault in faults}
    missing = [volume.number for volume in expected if volume.number not in found and volume.number not in known]
    joined.faults = [*faults, *(Fault(number, "", f"of {len(expected)} is missing") for number in missing)]
    return front, joined


def _stated_size(files: Files, path: str, front: Front) -> int:
    if not VolumeFile.looks_like_one(files, path, front.end):
        if (files.status(path) or FileStatus(is_folder=False, size=0, modified=0)).size <= front.end:
            raise Truncated(f"{path} is cut off")
        raise UsageError(f"{path} is no volume", hint="name one bundle, or the volumes of one")
    return stated_size(_document(files, path, front)[0])


def _opened_all(
    files: Files, sizes: Mapping[str, int], front: Front, faults: list[Fault]
) -> tuple[dict[int, VolumeFile], Sequence[Volume]]:
    """The volumes of the size that most of the files state."""
    expected = _cut(front, Counter(sizes.values()))
    found: dict[int, VolumeFile] = {}
    for path in sizes:
        try:
            opened = _opened(files, path, front, expected)
            found.setdefault(opened.volume.number, opened)
        except (ContentError, Truncated) as error:
            faults.append(Fault(_number(files, path, front), path, _reason(error, path)))
    return found, expected


def _cut(front: Front, sizes: Counter[int]) -> Sequence[Volume]:
    for size, _ in sizes.most_common():
        with suppress(UsageError):
            return cut(front.index, front.bundle_id, size)
    raise MalformedContent(f"{VOLUME_NAME} states a size that volumes of this bundle can't have")


def _opened(files: Files, path: str, front: Front, expected: Sequence[Volume]) -> VolumeFile:
    content, _ = _document(files, path, front)
    volume = parse_volume(content, expected)
    head = volume.head()
    data = front.end + len(head)
    end = data + volume.end - volume.start
    size = (files.status(path) or FileStatus(is_folder=False, size=0, modified=0)).size
    if files.read_at(path, front.end, len(head)) != head:
        raise MalformedContent(f"{path}: its headers were changed")
    if size < end + len(END):
        raise Truncated(f"{path} has {size} of {end + len(END)} bytes")
    if size > end + len(END) or files.read_at(path, end, len(END)) != END:
        raise SizeMismatch(f"{path} has more in it than a volume")
    return VolumeFile(volume, path, data)


def _document(files: Files, path: str, front: Front) -> tuple[bytes, int]:
    stream = FileStream(files, path)
    stream.skip(front.end)
    member = next(iter(Scan(stream)))
    if not 0 < member.size <= LARGEST:
        raise MalformedContent(f"{path}: {VOLUME_NAME} has {member.size} bytes")
    content = files.read_at(path, front.end + TAR_BLOCK, member.size)
    if len(content) < member.size:
        raise Truncated(f"{path} is cut off in {VOLUME_NAME}")
    return content, member.size


def _number(files: Files, path: str, front: Front) -> int:
    """The number that a volume gives itself, for the message, believed or not."""
    try:
        number = read_json_object(_document(files, path, front)[0], most=LARGEST).get("number")
    except ImgmoveError:
        return 0
    return number if isinstance(number, int) else 0


def _reason(error: ImgmoveError, path: str) -> str:
    return error.message.removeprefix(f"{path}: ").removeprefix(f"{path} ")
