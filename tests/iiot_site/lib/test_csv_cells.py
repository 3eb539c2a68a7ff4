from iiot_site.lib.csv_cells import neutralise


def test_cells_that_a_spreadsheet_would_run_are_neutralised() -> None:
    assert [neutralise(cell) for cell in ("=1+1", "+1", "-1", "@x", "\tx", "\rx", "x=1", "")] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
        "'\rx",
        "x=1",
        "",
    ]
