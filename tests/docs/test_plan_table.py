import plan_table
import pytest


def test_the_page_holds_the_plan_of_half_earth():
    page = plan_table.PAGE.read_text(encoding="utf-8")
    assert plan_table.renew(page, "\n\n".join(plan_table.parts())) == page


def test_a_page_without_the_comments_is_refused():
    assert plan_table.renew(f"a{plan_table.BEGIN}old{plan_table.END}z", "new").endswith(f"\nnew\n\n{plan_table.END}z")
    with pytest.raises(ValueError, match="must stand there"):
        plan_table.renew("nothing", "new")
