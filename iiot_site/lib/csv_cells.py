"""Cells of CSV files, which people open in spreadsheets. Source: OWASP, "CSV Injection"."""

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n")


def neutralise(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA_BEGINNINGS) else cell
