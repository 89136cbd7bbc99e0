from u2net.cutout.batch.pool import Tally


def test_a_picture_counts_each_process_that_began_it_and_came_to_no_other():
    tally = Tally()
    assert [tally.begin(process, "bad") for process in ("one", "two", "three")] == [1, 2, 3]


def test_a_picture_whose_process_went_on_is_begun_for_the_first_time_again():
    tally = Tally()
    assert [tally.begin("one", name) for name in ("good", "other", "good")] == [1, 1, 1]


def test_what_a_process_lived_through_clears_the_deaths_before():
    tally = Tally()
    tally.begin("one", "heavy")
    tally.begin("two", "heavy")
    tally.begin("two", "other")
    assert tally.begin("three", "heavy") == 1


def test_pictures_are_counted_apart():
    tally = Tally()
    tally.begin("one", "bad")
    tally.begin("two", "worse")
    assert (tally.begin("three", "bad"), tally.begin("four", "worse")) == (2, 2)


def test_nothing_is_kept_of_pictures_that_were_gone_on_from():
    tally = Tally()
    for i in range(100):
        tally.begin("one", str(i))
    assert (dict(tally._times), tally._at) == ({"99": 1}, {"one": "99"})
