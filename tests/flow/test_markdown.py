import pytest

from herbray.flow.markdown import code_block, escape, markdown_table


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Rubus  caesius\nL.", "Rubus caesius L."),
        ("<script>", "&lt;script&gt;"),
        ("[here](javascript:x)", r"\[here\](javascript:x)"),
        ("# A | B", r"\# A \| B"),
        ("`a` *b* _c_", r"\`a\` \*b\* \_c\_"),
        ("\\", r"\\"),
        ("red\x1b[31m", "red\N{REPLACEMENT CHARACTER}\\[31m"),
    ],
)
def test_text_stays_text_on_one_line(text, wanted):
    assert escape(text) == wanted


def test_a_long_text_is_cut():
    assert escape("x" * 30, limit=10) == "x" * 10 + "…"


def test_a_cell_does_not_break_its_row():
    assert markdown_table(("a", "b"), [("1|2", "3\n4")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 4 |"


def test_a_fence_is_longer_than_what_it_holds():
    lines = code_block("a\n``````\nb\n", "yaml").splitlines()
    assert lines[0] == "`" * 7 + "yaml"
    assert lines[-1] == "`" * 7
