"""Which stack the commands of a sentence go to."""

from lambdas.domain.commands import with_stack


def test_a_command_names_a_stack_that_is_not_found_without() -> None:
    text = "Correct it, then run `lowtide pools apply FILE`."
    assert with_stack(text, "Night", "Lowtide") == "Correct it, then run `lowtide pools apply FILE --stack Night`."
    assert with_stack(text, "Lowtide", "Lowtide") == text
