from lexiseg.data.class_lists import imagenet_classes


def test_there_are_a_thousand_classes_in_ascending_order_of_their_id():
    ids = [known.wnid for known in imagenet_classes()]
    assert len(ids) == 1000
    assert ids == sorted(set(ids))


def test_a_class_has_name_kind_and_lemmas():
    mau = imagenet_classes()[285]
    assert (mau.wnid, mau.name, mau.kind, mau.lemmas) == (
        "n02124075",
        "Egyptian Mau",
        "cat",
        ("Egyptian cat",),
    )
    assert not mau.shown_with_people


def test_no_kind_repeats_the_name_and_clothes_are_shown_with_people():
    classes = imagenet_classes()
    assert all(known.kind != known.name for known in classes)
    with_people = {known.name for known in classes if known.shown_with_people}
    assert {"T-shirt", "violin", "scuba diver"} <= with_people
    assert not {"Egyptian Mau", "espresso", "valley"} & with_people
