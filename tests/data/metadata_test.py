"""Tables: every row as it was meant, or one error with its line; labels as a person means them."""

import csv
import json
import sys

import pytest

from genjax.data.metadata import Row, Unreadable, ordered, read_stylegan, read_table

MISSING = [None, "", " ", "nan", "NaN", float("nan"), "None", "null", "NULL", "N/A", "n/a", "NA", "<NA>", "#N/A", "NaT"]


def table(tmp_path, content, name="metadata.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return read_table(str(path))


def jsonl(tmp_path, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return table(tmp_path, "\n".join(lines), "metadata.jsonl")


@pytest.mark.parametrize("separator", ",;\t|")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_encodings_and_line_ends(tmp_path, separator, encoding, end):
    lines = ["file_name,text", 'a.png,"one, ""two""; three|four"', "", ",", 'b.png,"two\nlines"', "./c/d.png, ü "]
    text = end.join(line.replace(",", separator) for line in lines)
    found = table(tmp_path, text, "metadata.csv", encoding)
    caption = 'one, "two"; three|four'.replace(",", separator)
    assert found.rows == [
        Row("a.png", None, (caption,)),
        Row("b.png", None, ("two\nlines",)),
        Row("c/d.png", None, ("ü",)),
    ]
    assert found.captioned and not found.labelled


def test_headers_as_people_write_them(tmp_path):
    found = table(tmp_path, "sep=;\nFile_Name; Text ;score;\na.png;x;3;\n")
    assert found.rows == [Row("a.png", None, ("x",))] and found.ignored == ("score",)


def test_a_field_may_be_of_any_length_and_the_limit_is_as_before(tmp_path):
    limit, text = csv.field_size_limit(), "word " * 60_000
    assert table(tmp_path, f"file_name,text\na.png,{text}\n").rows[0].texts == (text.strip(),)
    assert csv.field_size_limit() == limit != sys.maxsize


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file_name,text\na.png,x\nb.png,a cat, sitting\n", r"line 3 has 3 fields, and the header has 2: put quotes"),
        ("file_name,text,label\na.png,x\n", "line 2 has 2 fields, and the header has 3"),
        ('file_name,text\na.png,x\nb.png,"a cat\nc.png,y\n', "line 3: unexpected end of data: a quote that opens"),
        ('file_name,text\na.png,"a cat\nb.png,"a dog"\nc.png,y\n', "line 2: ',' expected after '\"'"),
        ('file_name,text\na.png,"a cat\nb.png,x\nc.png,"\nd.png,y\n', "line 2: a quote is not closed, so that"),
        ('file_name,text\n\na.png,"a" cat\n', "line 3: ',' expected after"),
        ("file_name,text,text\na.png,x,y\n", "several columns called text: keep one of each"),
        ("file_name,text\n", "has a header, and no rows"),
        ("", "is empty: it needs file_name"),
        ("file_name;caption\na.png;x\n", r"columns \['caption', 'file_name'\]: it needs file_name, and text or label"),
        ("a.png,a cat\nb.png,a dog\n", r"columns \['a cat', 'a.png'\]: it needs file_name"),
        ("file_name,text\n ,x\n", "line 2 has no file_name"),
        ("file_name,label\na.png,x\na.png,y\n", "line 3: a.png is 'y', and was 'x' in a line above"),
        ("file_name,label\na.png,\"['cat', 'dog']\"\n", r"line 2: the label is \['cat', 'dog'\]: an image has one"),
        ("file_name,text\na.png,x\0y\n", r"control character '\\x00' \(line 2\)"),
        ("file_name,text\na.png,Löwe\n".encode("cp1252"), r"metadata.csv is not UTF-8 \(line 2\): save it as UTF-8"),
        ("file_name,text\na.png,犬\n".encode("shift-jis"), r"is not UTF-8 \(line 2\)"),
        ("file_name,text\na.png,x\n".encode("utf-16-le"), "holds the control character"),
    ],
)
def test_a_csv_that_cannot_be_understood_is_one_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as error:
        table(tmp_path, content)
    assert "metadata.csv" in str(error.value) and "\n" not in str(error.value)


def test_rows_of_one_image_are_its_captions(tmp_path):
    found = table(tmp_path, "file_name,text,label\na.png,one,x\nb.png,two,x\n./a.png,three,x\na.png,one,x\n")
    assert found.rows == [Row("a.png", "x", ("one", "three")), Row("b.png", "x", ("two",))]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file_name": 3, "text": "x"}, "line 2: file_name is 3, not the name of a file"),
        ({"file_name": ["a.png"], "text": "x"}, r"line 2: file_name is \['a.png'\]"),
        ({"file_name": None, "text": "x"}, "line 2 has no file_name"),
        ({"text": "x"}, "line 2 has no file_name"),
        ({"file_name": {"a": 1}}, "line 2: file_name is {'a': 1}"),
        ({"file_name": "a.png", "text": {"en": "x"}}, r"line 2: text is {'en': 'x'}, not a caption"),
        ({"file_name": "a.png", "text": [["x"]]}, r"line 2: text is \['x'\]"),
        ({"file_name": "a.png", "text": True}, "line 2: text is True"),
        ({"file_name": "a.png", "text": "x\0"}, "line 2: the text holds a control character"),
        ('{"file_name": "a.png", "text": "x", "text": "y"}', "line 2 has several columns called text"),
        ('{"file_name": "a.png"', "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ("3", "line 2 is not a JSON object"),
        ("null", "line 2 is not a JSON object"),
    ],
)
def test_a_jsonl_that_cannot_be_understood_is_one_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=message) as error:
        jsonl(tmp_path, {"file_name": "0.png", "text": "x"}, row)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("missing", [*MISSING, [], [None], ["None", ""]])
def test_a_missing_text_is_no_caption(tmp_path, missing):
    rows = [{"file_name": "a.png", "text": "x"}, {"file_name": "b.png", "text": missing}]
    assert jsonl(tmp_path, *rows).rows[1] == Row("b.png")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([1.0, 2.0, 10.0], ("1", "2", "10")),
        (["1.0", "10.0", "2.0"], ("1", "2", "10")),
        (["0.5", "10.5", "2"], ("0.5", "2", "10.5")),
        ([" cat", "cat ", "cat"], ("cat",)),
        (["1.0", "2.0", "beta"], ("1.0", "2.0", "beta")),  # versions, not numbers
        ([-1, 0, 1], ("-1", "0", "1")),
        (["01", "1", "001"], ("001", "01", "1")),
        ([1e3, "7", 20], ("7", "20", "1000")),
        ([True, False, True], ("False", "True")),
        (["9" * 5000, "1", "x"], ("1", "9" * 5000, "x")),
    ],
)
def test_labels_as_they_are_meant_in_their_order(tmp_path, labels, names):
    found = jsonl(tmp_path, *({"file_name": f"{n}.png", "label": label} for n, label in enumerate(labels)))
    assert ordered({row.label for row in found.rows}) == names
    assert all(row.label == names[names.index(row.label)] for row in found.rows)


@pytest.mark.parametrize("missing", MISSING)
def test_a_missing_label_is_no_class(tmp_path, missing):
    rows = [{"file_name": "a.png", "label": 1.0}, {"file_name": "b.png", "label": missing}, {"file_name": "c.png"}]
    found = jsonl(tmp_path, *rows)
    assert found.rows == [Row("a.png", "1"), Row("b.png"), Row("c.png")] and found.labelled
    if isinstance(missing, str):
        found = table(tmp_path, f"file_name\tlabel\ttext\na.png\tcat\tx\nb.png\t{missing}\t{missing}\n", "metadata.tsv")
        assert found.rows == [Row("a.png", "cat", ("x",)), Row("b.png")]


@pytest.mark.parametrize("word", ["none", "na", "nil", "missing", "-1", "0", "unknown", "Nan nan", "NANA"])
def test_words_that_may_be_classes_are(tmp_path, word):
    assert jsonl(tmp_path, {"file_name": "a.png", "label": word}).rows == [Row("a.png", word)]


def test_a_label_may_be_in_one_of_an_image_s_rows(tmp_path):
    found = table(tmp_path, "file_name,text,label\na.png,one,\na.png,two,x\na.png,three,nan\n")
    assert found.rows == [Row("a.png", "x", ("one", "two", "three"))]


@pytest.mark.parametrize("label", [["cat", "dog"], ["cat"], {"a": 1}, "['cat', 'dog']", "[1 2]", float("inf"), "a\nb"])
def test_labels_that_are_none_are_refused(tmp_path, label):
    with pytest.raises(ValueError, match="line 2: the label is "):
        jsonl(tmp_path, {"file_name": "a.png", "label": "cat"}, {"file_name": "b.png", "label": label})


def test_parquet(tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"file_name": ["a.png", "b.png"], "text": [["x", "y"], None], "label": [1.0, 2.0], "score": [0, 1]}
    path = tmp_path / "metadata.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    found = read_table(str(path))
    assert found.rows == [Row("a.png", "1", ("x", "y")), Row("b.png", "2")] and found.ignored == ("score",)
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="can't be read as parquet"):
        read_table(str(path))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Unreadable, match="needs pyarrow"):
        read_table(str(path))


@pytest.mark.parametrize(
    ("contents", "rows"),
    [
        ({"labels": [["00000/a.png", 6], ["00001/b.png", 2.0]]}, [Row("00000/a.png", "6"), Row("00001/b.png", "2")]),
        (
            {"labels": [["a.png", 0], ["b.png", -1], ["c.png", None], ["d.png", float("nan")], ["e.png", -1.0]]},
            [Row("a.png", "0"), *map(Row, ("b.png", "c.png", "d.png", "e.png"))],
        ),
        ({"labels": [["a.png", "None"], ["b.png", ""]]}, [Row("a.png"), Row("b.png")]),
        ({"labels": None}, []),
        ({"labels": []}, []),
        ({"images": []}, None),
        ([1], None),
    ],
)
def test_stylegan(tmp_path, contents, rows):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(contents))
    found = read_stylegan(str(path))
    assert (found.rows if found else found) == rows


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ('{"labels": [["a.png", [0.1, 0.9]]]}', r"the label of a.png is \[0.1, 0.9\]: only whole numbers from 0 on"),
        ('{"labels": [["a.png", 0.5]]}', "the label of a.png is 0.5"),
        ('{"labels": [["a.png", -2]]}', "the label of a.png is -2: only whole numbers from 0 on"),
        ('{"labels": [["a.png", true]]}', "the label of a.png is True"),
        ('{"labels": [["a.png", "cat"]]}', "the label of a.png is 'cat'"),
        ('{"labels": [["a.png", 1e999]]}', "the label of a.png is inf"),
        ('{"labels": ["a.png"]}', "entry 1 of labels is 'a.png', not"),
        ('{"labels": {"a.png": 1}}', "labels is {'a.png': 1}, not a list"),
        ('{"labels": 3}', "labels is 3, not a list"),
        ("{", "is not JSON"),
    ],
)
def test_stylegan_mistakes(tmp_path, contents, message):
    (tmp_path / "dataset.json").write_text(contents)
    with pytest.raises(ValueError, match=message):
        read_stylegan(str(tmp_path / "dataset.json"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"file_name": "1.png", "label": 1%s}' % ("0" * 5000), "line 1 is not JSON: Exceeds the limit"),
        ('{"file_name": "1.png", "text": "\\ud800 x"}', "line 1: the text holds .* half of a surrogate pair"),
        ('{"file_name": "1.png", "label": "\\ud800"}', "line 1: the label is .*, not a name"),
        ('{"file_name": "\\ud800.png", "text": "x"}', "line 1: file_name is .*, not the name of a file"),
        ('{"file_name": "1.png", "label": "a\\u2028b"}', "line 1: the label is .*, not a name"),
    ],
    ids=["a number of 5,000 digits", "caption", "label", "file name", "line separator"],
)
def test_json_that_no_file_system_and_no_text_can_hold(tmp_path, row, message):
    with pytest.raises(ValueError, match=f"metadata.jsonl: {message}"):
        jsonl(tmp_path, row)


def test_a_name_in_bytes_that_are_no_utf8_can_be_written_in_json(tmp_path):
    found = jsonl(tmp_path, '{"file_name": "\\udce9.png", "text": "x"}')
    assert found.rows[0].file_name == "\udce9.png"


def test_infinity_among_numbers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="metadata.csv: line 3: the label is -inf, and others are numbers"):
        table(tmp_path, "file_name,label\na.png,1\nb.png,-inf\n")
    assert table(tmp_path, "file_name,label\na.png,x\nb.png,inf\n").rows[1].label == "inf"
