import numpy as np
import pytest

from u2net.evaluation.metrics.shift import combine, end_to_end


def test_rows_are_laid_out_with_a_gap_behind_each():
    padded = end_to_end(np.array([[1, 2], [3, 4]]), 1, np.uint8, 9)
    assert padded.tolist() == [[1, 2, 9], [3, 4, 9]]
    assert padded.dtype == np.uint8


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1, [1, 12, 23, 34]), (-1, [21, 32, 43, 4]), (3, [1, 2, 3, 14]), (4, [1, 2, 3, 4]), (-9, [1, 2, 3, 4])],
)
def test_a_line_is_combined_with_another_moved_on_or_back(step, expected):
    line = np.array([1, 2, 3, 4])
    combine(np.add, line, np.array([10, 20, 30, 40]), step)
    assert line.tolist() == expected
