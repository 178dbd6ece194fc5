from herbray.tracking.sections import append_line, read_section, replace_section

CARD = "# A model\n\nWords.\n\n## Results\n\nNot yet.\n\n## Settings\n\n````yaml\n## Results\nseed: 89\n````\n"


def test_a_section_is_replaced_and_the_rest_stays():
    card = replace_section(CARD, "Results", "0.5\n\n| a | b |")
    assert read_section(card, "Results") == "0.5\n\n| a | b |"
    assert card == CARD.replace("Not yet.", "0.5\n\n| a | b |", 1)
    assert replace_section(card, "Results", "Not yet.") == CARD


def test_a_missing_section_is_appended():
    card = replace_section("An old card", "Results", "0.5")
    assert card.startswith("An old card\n\n## Results")
    assert read_section(card, "Results") == "0.5"
    assert read_section(CARD, "Promotion") == ""
    assert replace_section("", "Results", "0.5").startswith("## Results")


def test_a_list_grows_by_a_line_and_forgets_the_oldest():
    card = CARD
    for number in range(5):
        card = append_line(card, "Results", f"decision\n## {number}", kept=3)
    assert read_section(card, "Results").splitlines() == [f"- decision ## {number}" for number in (2, 3, 4)]
    assert card.count("## Settings") == 1
