from __future__ import annotations

from dlsp.notebooks import Cell, Notebooks

BOOK = "file:///code/a.ipynb"


def book(*names: str) -> Notebooks:
    """A notebook whose cells have one letter each; a capital is prose."""
    notebooks = Notebooks()
    notebooks.opened(BOOK, cells(*names))
    return notebooks


def cells(*names: str) -> list[Cell]:
    return [Cell(name.lower(), name.islower()) for name in names]


def test_code_cells_above_nearest_last() -> None:
    notebooks = book("a", "B", "c", "d")
    assert notebooks.before("d") == ("a", "c")
    assert notebooks.before("b") == ("a",)
    assert notebooks.before("a") == ()
    assert notebooks.before("file:///code/a.py") == ()


def test_cells_are_put_in_taken_out_and_moved() -> None:
    notebooks = book("a", "b", "c")
    notebooks.changed(BOOK, 1, 0, cells("x", "y"))
    assert notebooks.before("c") == ("a", "x", "y", "b")
    notebooks.changed(BOOK, 0, 2, ())
    assert notebooks.before("c") == ("y", "b")
    assert notebooks.before("a") == notebooks.before("x") == ()
    notebooks.changed(BOOK, 0, 3, cells("c", "b", "y"))
    assert notebooks.before("y") == ("c", "b")


def test_what_does_not_fit_is_clamped() -> None:
    notebooks = book("a", "b")
    notebooks.changed(BOOK, 9, 9, cells("c"))
    assert notebooks.before("c") == ("a", "b")
    notebooks.changed(BOOK, -1, -1, cells("x"))
    assert notebooks.before("a") == ("x",)
    notebooks.changed("file:///code/other.ipynb", 0, 0, cells("z"))
    assert notebooks.before("z") == ()


def test_prose_becomes_code_and_back() -> None:
    notebooks = book("a", "B", "c")
    notebooks.updated(BOOK, cells("A", "b"))
    assert notebooks.before("c") == ("b",)
    notebooks.updated("file:///code/other.ipynb", cells("c"))
    assert notebooks.before("c") == ("b",)


def test_a_closed_notebook_is_forgotten_and_two_are_kept_apart() -> None:
    notebooks = book("a", "b")
    notebooks.opened("file:///code/other.ipynb", cells("c", "d"))
    assert notebooks.before("d") == ("c",)
    assert notebooks.closed(BOOK) == ("a", "b")
    assert notebooks.before("b") == ()
    assert notebooks.before("d") == ("c",)
    assert notebooks.closed(BOOK) == ()


def test_a_notebook_opened_again_has_its_new_cells_only() -> None:
    notebooks = book("a", "b")
    notebooks.opened(BOOK, cells("b", "c"))
    assert notebooks.before("c") == ("b",)
    assert notebooks.before("a") == ()
