"""The order of the cells of open notebooks, and which of them hold code. Their texts are documents like any other and not kept here."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Cell(msgspec.Struct, frozen=True):
    """A cell by the URI of its document; `code` is false for prose."""

    uri: str
    code: bool = True


class Notebooks:
    """All notebooks that are open."""

    def __init__(self) -> None:
        self._cells: dict[str, list[Cell]] = {}
        self._notebook_of: dict[str, str] = {}

    def opened(self, uri: str, cells: Iterable[Cell]) -> None:
        """A notebook was opened; one that was open under this URI is replaced."""
        self.closed(uri)
        self._set(uri, list(cells))

    def changed(self, uri: str, start: int, deleted: int, cells: Iterable[Cell]) -> None:
        """From cell `start` (0-based) on, `deleted` cells gave way to others. What does not fit is clamped to what exists."""
        present = self._cells.get(uri)
        if present is None:
            return
        first = min(max(start, 0), len(present))
        last = min(first + max(deleted, 0), len(present))
        self._set(uri, [*present[:first], *cells, *present[last:]])

    def updated(self, uri: str, cells: Iterable[Cell]) -> None:
        """Cells became prose or code where they stand."""
        kinds = {cell.uri: cell for cell in cells}
        if (present := self._cells.get(uri)) is not None:
            self._set(uri, [kinds.get(cell.uri, cell) for cell in present])

    def closed(self, uri: str) -> tuple[str, ...]:
        """A notebook was closed. Returns the URIs of the cells it had."""
        cells = self._cells.pop(uri, [])
        for cell in cells:
            self._notebook_of.pop(cell.uri, None)
        return tuple(cell.uri for cell in cells)

    def of(self, cell_uri: str) -> str:
        """The notebook that a cell belongs to; empty for what is no cell."""
        return self._notebook_of.get(cell_uri, "")

    def before(self, cell_uri: str) -> tuple[str, ...]:
        """The code cells above a cell of the same notebook, nearest last; none for what is no cell."""
        cells = self._cells.get(self.of(cell_uri), [])
        place = next((number for number, cell in enumerate(cells) if cell.uri == cell_uri), 0)
        return tuple(cell.uri for cell in cells[:place] if cell.code)

    def _set(self, uri: str, cells: list[Cell]) -> None:
        for cell in self._cells.get(uri, ()):
            self._notebook_of.pop(cell.uri, None)
        self._cells[uri] = cells
        self._notebook_of.update((cell.uri, uri) for cell in cells)
