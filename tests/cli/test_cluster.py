import pytest

from cli.command import u2net


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("in", "out", "--watch"), "--watch and --report are for --engine pool"),
        (("in", "out", "--report", "look.html"), "--watch and --report are for --engine pool"),
        (("-", "out"), "--engine ray is for folders and Parquet files"),
        (("picture.jpg", "out"), "--engine ray is for folders and Parquet files"),
        (("s3://bucket/shop",), "give OUTPUT, a folder or its URI"),
        (("rows.parquet",), "give OUTPUT, a folder or its URI"),
        (("in", "in"), "OUTPUT must be another folder"),
        (("in", "nowhere://bucket"), "Unrecognized filesystem type in URI: nowhere://bucket"),
    ],
)
def test_what_makes_no_sense_for_a_cluster_is_refused_in_one_line(here, tmp_path, arguments, reason):
    pytest.importorskip("ray", reason="u2net[ray] is not installed")
    (tmp_path / "in").mkdir()
    result = here("remove", *arguments, "--engine", "ray", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr.decode() == f"u2net: {reason}\n"


def test_without_ray_one_line_says_what_to_install(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('No module named ray', name='ray')")
    result = u2net("remove", tmp_path / "in", tmp_path / "out", "--engine", "ray", env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert result.stderr.decode() == "u2net: --engine ray needs: pip install 'u2net[ray]' (ray is missing)\n"
