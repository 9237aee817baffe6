"""Finds the reviews and the metadata of one Amazon category.

It tries, in this order: the given files; the given folder, with the files under their usual names, gzipped or not; an
earlier download in the cache; the network. The publishers give no checksums. So a download must have the length that
the server announces, and the MD5 if one is known; gzip checks itself when it is read; and the SHA-256 of what was read
goes into the data card.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lrd_jax.data.cache import cache_dir
from lrd_jax.data.sources.downloads import download_url, fetch, one_line
from lrd_jax.errors import UserError
from lrd_jax.files import refuse_irregular


@dataclasses.dataclass(frozen=True)
class Release:
    """One release of the Amazon data.

    Attributes:
      name: such as "amazon-2014"; also the name of its download folder in the cache.
      home: the page that describes it.
      reviews, meta: the publisher's file names of a category, with "{}" for the category.
      reviews_urls, meta_urls: download URLs, in order of preference.
      categories: the categories that exist.
      other_reviews: other names that the reviews file may have in a folder.
      md5: the known MD5 checksums by file name; a download with another checksum is rejected.
    """

    name: str
    home: str
    reviews: str
    meta: str
    reviews_urls: tuple[str, ...]
    meta_urls: tuple[str, ...]
    categories: tuple[str, ...]
    md5: Mapping[str, str] = dataclasses.field(default_factory=dict)
    other_reviews: tuple[str, ...] = ()


def find_files(
    release: Release,
    category: str,
    *,
    source: Path | None = None,
    reviews: Path | None = None,
    meta: Path | None = None,
) -> tuple[Path, Path]:
    """The paths of a category's reviews and metadata.

    Args:
      release: the release.
      category: such as "Office_Products".
      source: a folder with both files.
      reviews, meta: the files; they take precedence over `source` and the network.

    Raises:
      UserError: the folder lacks a file, the category does not exist, or no download worked.
    """
    kinds = (
        (reviews, release.reviews, release.other_reviews, release.reviews_urls),
        (meta, release.meta, (), release.meta_urls),
    )
    found = []
    for given, name, others, urls in kinds:
        name = name.format(category)
        if given is not None:
            found.append(Path(given))
        elif source is not None:
            found.append(_in_folder(Path(source), (name, *(other.format(category) for other in others))))
        else:
            found.append(_in_cache(release, category, name, tuple(url.format(category) for url in urls)))
    for path in found:
        refuse_irregular(path)
    return found[0], found[1]


def _in_folder(folder: Path, names: tuple[str, ...]) -> Path:
    name = " or ".join(names)
    if not folder.is_dir():
        raise UserError("it is not a folder", file=folder, field="--source", remedy=f"Give the folder with {name}")
    for candidate in (folder / spelt for name in names for spelt in (name, name.removesuffix(".gz"))):
        if candidate.is_file():
            return candidate
    remedy = f"Put {name} there, gzipped or not, or give the files with --reviews and --meta"
    raise UserError(f"there is no {name} in it", file=folder, field="--source", remedy=remedy)


def _in_cache(release: Release, category: str, name: str, urls: tuple[str, ...]) -> Path:
    file = cache_dir() / "downloads" / release.name / name
    if file.is_file():
        return file
    if category not in release.categories:
        near = difflib.get_close_matches(category, release.categories, n=1, cutoff=0.5)
        remedy = f"Perhaps you mean {near[0]}" if near else f"Choose one of {', '.join(release.categories)}"
        raise UserError(f"{release.name} has no category {category!r}", field="category", remedy=remedy)
    failures = []
    for url in urls:
        try:
            fetch(file, "md5" if name in release.md5 else None, release.md5.get(name), partial(download_url, url))
            return file
        except (OSError, ValueError) as error:
            failures.append(f"{url} failed: {one_line(error)}")
    both = " and ".join(template[0].format(category) for template in (release.reviews_urls, release.meta_urls))
    remedy = f"Download {both} on another machine into one folder, and give it with --source"
    raise UserError(f"{name} could not be downloaded: {'; '.join(failures)}", remedy=remedy)
