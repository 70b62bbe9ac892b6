"""What compares two versions reads the figures that benchmarks print."""

from benchmarks.against import apart, figures

TABLE = """\
GPT-2 small's shape, 1 threads of a machine, torch 2.13, 2026-11-22

| tokens | forward, s | record | + attribute, numba | edges |
|---|---|---|---|---|
| 128 | 0.540 | 1.32 [1.25] | 1.44 [1.4] | 10,875 |
  0.83 MB, 89,289 attention edges at the lowest threshold
| 512 | 1.8 | - | 1.59 | 94,160 |
"""


def test_a_printed_table_is_read_by_row_and_column_without_its_goals() -> None:
    assert figures(TABLE) == [
        (("128", "forward, s"), 0.54),
        (("128", "record"), 1.32),
        (("128", "+ attribute, numba"), 1.44),
        (("128", "edges"), 10875.0),
        (("512", "forward, s"), 1.8),
        (("512", "+ attribute, numba"), 1.59),
        (("512", "edges"), 94160.0),
    ]


def test_a_name_with_figures_is_read_by_name_and_unit() -> None:
    assert figures("state        84 ms,     4 kB\ncarried       1 ms,     0 kB") == [
        (("state", "ms"), 84.0),
        (("state", "kB"), 4.0),
        (("carried", "ms"), 1.0),
        (("carried", "kB"), 0.0),
    ]


def test_columns_of_one_name_are_told_by_the_one_before() -> None:
    assert apart(["tokens", "drag", "p95", "hover", "p95"]) == ["tokens", "drag", "drag, p95", "hover", "hover, p95"]
