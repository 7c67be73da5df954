"""Tables of numbers become points, or are refused with the cell."""

import numpy as np
import pytest

from minicoulomb.data.arrays import array_dataset, load_array
from minicoulomb.data.sources import find
from minicoulomb.errors import UserError

POINTS = [[1.5, 2], [-3, 4e2]]


def written(tmp_path, text, name="a.csv"):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / name


@pytest.mark.parametrize(
    "text",
    [
        "1.5,2\n-3,4e2\n",
        "1.5,2\r\n-3,4e2",
        "\ufeffx,y\r\n1.5,2\r\n-3,4e2\r\n",
        '"x","a, b"\n"1.5","2"\n"-3" ,"4e2"\n',
        "x;y\n1,5;2\n-3;4e2\n",
        "1,5;2\n-3;400\n",
        "sep=;\r\nx;y\r\n1,5;2\r\n-3;400\r\n",
        "x\ty\n1.5\t2\n\n-3\t400\n",
        "# made by numpy.savetxt\n1.5 2\n-3   400\n",
        " 1.5 2\n -3 400\n",
        ",x,y\n0,1.5,2\n1,-3,400\n",
        "x,y\n1.5,2\n,\n-3,400\n",
        "Gr\u00f6\u00dfe,y\n1.5,2\n-3,400\n".encode("latin-1"),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.TSV"])
def test_a_table_is_read_in_the_forms_that_programs_write(tmp_path, text, name):
    assert load_array(written(tmp_path, text, name)).tolist() == POINTS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "x,name\n1,setosa\n",
            r"line 2: 'setosa' in column 2 \(name\) is no number: every row must hold numbers",
        ),
        ("5.1,Iris\n4,Iris\n", "line 1: 'Iris' in column 2 is no number: every row"),
        ("x,y\n1,\n2,3\n", r"line 2: '' in column 2 \(y\)"),
        ("x,y\n\n# NA\n1,2\n3,NA\n", r"line 5: 'NA' in column 2 \(y\)"),
        ("x;y\n1;2\n1.234,5;2\n", r"line 3: '1\.234,5' in column 1 \(x\) is no number: .* thousands separators"),
        (",x,y\n0,1,2\n1,2\n", "line 3: invalid column index 2 with 2 columns: every"),
        ("x y\n1 2\n1\t3  b\n", r"line 3: could not convert string 'b'|line 3: the number of columns changed"),
        ("x,y\n1,2\n3,nan\n", "row 1 is not finite"),
        ("x,y\n1,2\n3,1e999\n", "row 1 is not finite"),
        ("x,y\n1,2\n3\n", "line 3: the number of columns changed from 2 to 1: every row"),
        ("x,y\n1,2,3\n4,5,6\n", "2 names of columns and 3 numbers a row"),
        ("x,1990\n1,2\n3,4\n", "line 1: 'x' in column 1"),
        ("2020-01-01,3\n2020-01-02,4\n", "line 1: '2020-01-01' in column 1"),
        ("x,y\n", "no row of numbers: must hold a point a row; add data"),
        ("[[1, 2], [3, 4]]", "no row of numbers"),
        ("", "no row of numbers"),
        ("\n\n", "no row of numbers"),
        ("x,y\n1,2\n".encode("utf-16"), "UTF-16 or binary: must be UTF-8 text; save it as CSV UTF-8"),
        ("x\n" + "1" * 100_000 + "a\n", "line 2: '111"),
        (b'"' + b"a" * 200_000 + b"\n1\n", "cannot be read .*larger than field limit"),
    ],
)
def test_a_table_with_anything_else_is_refused_with_the_cell(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as caught:
        load_array(written(tmp_path, text))
    assert "a.csv" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_suffix_decides_and_a_table_is_data_like_an_array(tmp_path):
    points = np.random.default_rng(0).standard_normal((300, 3))
    np.save(tmp_path / "a.npy", points)
    np.savetxt(tmp_path / "a.csv", points, delimiter=",", header="x,y,z")
    table, array = find(str(tmp_path / "a.csv")), find(str(tmp_path / "a.npy"))
    assert table.kind == array.kind == "points"
    assert (table.content.array == array.content.array).all()
    assert (table.content.scale, table.content.location) == (array.content.scale, array.content.location)
    (tmp_path / "a.csv").rename(tmp_path / "a.dat")
    with pytest.raises(UserError, match=r"a\.dat: not a .npy or .npz file; .* name a table .csv or .tsv"):
        array_dataset(tmp_path / "a.dat")
