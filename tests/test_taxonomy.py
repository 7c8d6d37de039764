import json
from functools import cache
from pathlib import Path

import pytest
import yaml

from spavl_dag.errors import ParamsError
from spavl_dag.taxonomy import (
    BUILTIN_TAXONOMY,
    SLUG_PATTERN,
    Taxonomy,
    UnknownClassError,
    derive_slug,
    load_taxonomy,
)

# Misspelled in the published data on purpose.
PUBLISHED_FAULTS = {"disability_discrimination": "disablity discrimination", "scams": "scamns"}


@cache
def builtin() -> Taxonomy:
    return load_taxonomy()


def write(tmp_path: Path, text: str | bytes, name: str = "taxonomy.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def small(**changes: object) -> dict[str, object]:
    harm_class = {"slug": "theft", "name": "Theft"} | changes
    category = {"slug": "crime", "name": "Crime", "classes": [harm_class, {"slug": "fraud", "name": "Fraud"}]}
    return {"domains": [{"slug": "misuse", "name": "Misuse", "categories": [category]}]}


def error_of(tmp_path: Path, content: object, name: str = "taxonomy.yaml") -> ParamsError:
    text = content if isinstance(content, str | bytes) else yaml.safe_dump(content, sort_keys=False)
    with pytest.raises(ParamsError) as caught:
        load_taxonomy(write(tmp_path, text, name))
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.hint
    return caught.value


class TestBuiltin:
    def test_has_the_published_shape(self) -> None:
        taxonomy = builtin()
        categories = [category for domain in taxonomy.domains for category in domain.categories]
        assert (len(taxonomy.domains), len(categories), len(taxonomy.classes)) == (6, 15, 53)
        assert len(taxonomy.by_slug) == 53

    def test_slugs_follow_the_rule_except_for_mended_spelling(self) -> None:
        for harm_class in builtin().classes:
            assert SLUG_PATTERN.fullmatch(harm_class.slug)
            if harm_class.slug in PUBLISHED_FAULTS:
                assert harm_class.published == PUBLISHED_FAULTS[harm_class.slug]
            else:
                assert harm_class.slug == derive_slug(harm_class.published)

    def test_display_names_are_spelled_correctly(self) -> None:
        taxonomy = builtin()
        assert taxonomy.by_slug["physical_harm"].names == (
            "Human Autonomy & Integrity Harms",
            "Persuasion and manipulation",
            "Physical harm",
        )
        assert taxonomy.by_slug["disability_discrimination"].name == "Disability discrimination"
        assert taxonomy.by_slug["scams"].name == "Scams"

    def test_exports_keep_the_published_spelling(self) -> None:
        scams = builtin().by_slug["scams"]
        assert (scams.class1, scams.class2, scams.class3) == (
            "Malicious Use",
            "Fraud or deceptive action",
            "scamns",
        )
        assert builtin().by_slug["bully"].class1 == "Representation & ToxicityHarms"

    def test_every_class_has_six_keywords_of_its_own(self) -> None:
        words = [word for harm_class in builtin().classes for word in harm_class.keywords]
        assert all(len(set(harm_class.keywords)) == 6 for harm_class in builtin().classes)
        assert len(set(words)) > 0.95 * len(words)

    def test_every_spelling_finds_its_class(self) -> None:
        taxonomy = builtin()
        for harm_class in taxonomy.classes:
            for text in (harm_class.slug, harm_class.name, harm_class.published, *harm_class.aliases):
                assert taxonomy.find_class(text) is harm_class
                assert taxonomy.find_class(f"  {text.upper()} ") is harm_class

    def test_order_is_the_order_of_the_file(self) -> None:
        slugs = [line.split()[-1] for line in BUILTIN_TAXONOMY.read_text().splitlines() if "          - slug" in line]
        assert [harm_class.slug for harm_class in builtin().classes] == slugs

    def test_is_the_world_of_the_pictograms(self) -> None:
        from spavl_dag.demo.symbols import CLASSES

        assert list(builtin().by_slug) == list(CLASSES)

    def test_matches_the_published_file(self) -> None:
        published = Path(__file__).parents[2] / "shared" / "taxonomy.json"
        if not published.is_file():
            pytest.skip(f"{published} is not there")
        theirs, ours = load_taxonomy(published), builtin()
        for a, b in zip(theirs.classes, ours.classes, strict=True):
            assert (a.slug, a.names, a.class1, a.class2, a.class3) == (
                b.slug,
                b.names,
                b.class1,
                b.class2,
                b.class3,
            )
        assert [d.slug for d in theirs.domains] == [d.slug for d in ours.domains]


class TestFindClass:
    @pytest.mark.parametrize("text", ["Fake News", "fake-news", "FAKE_NEWS", " fake  news ", "fakenews", "Fake\tNews"])
    def test_case_and_space_make_no_difference(self, text: str) -> None:
        assert builtin().find_class(text).slug == "fake_news"

    def test_a_near_miss_is_suggested(self) -> None:
        with pytest.raises(UnknownClassError) as caught:
            builtin().find_class("disabilty discriminaton")
        assert caught.value.suggestions[0] == "disability_discrimination"
        assert "disability_discrimination" in str(caught.value)

    @pytest.mark.parametrize("text", ["", "   ", "no such thing", "x" * 100_000, "\ud800", "\0", "😀"])
    def test_anything_else_is_unknown(self, text: str) -> None:
        with pytest.raises(UnknownClassError) as caught:
            builtin().find_class(text)
        assert caught.value.suggestions == ()
        assert len(str(caught.value)) < 600


class TestOwnFile:
    def test_names_not_given_are_defaulted(self, tmp_path: Path) -> None:
        taxonomy = load_taxonomy(write(tmp_path, yaml.safe_dump(small(aliases=["stealing"]))))
        theft = taxonomy.find_class("Stealing")
        assert (theft.slug, theft.class3, theft.class1, theft.keywords) == ("theft", "Theft", "Misuse", ())

    def test_any_script_may_be_a_name(self, tmp_path: Path) -> None:
        taxonomy = load_taxonomy(write(tmp_path, yaml.safe_dump(small(name="窃盗", aliases=["Кража"]))))
        assert taxonomy.find_class("кража").name == "窃盗"

    def test_nested_json_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path, json.dumps({"Misuse": {"Crime & co": ["petty theft", "fraud"]}}), "own.json")
        theft = load_taxonomy(path).find_class("petty theft")
        assert (theft.slug, theft.names, theft.class2) == (
            "petty_theft",
            ("Misuse", "Crime & co", "Petty theft"),
            "Crime & co",
        )

    def test_byte_order_mark_is_no_problem(self, tmp_path: Path) -> None:
        text = yaml.safe_dump(small()).encode("utf-8-sig")
        assert len(load_taxonomy(write(tmp_path, text)).classes) == 2

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            (
                {"slug": "fraud"},
                "domains[0].categories[0].classes[1].slug: 'fraud' is the slug of domains[0].",
            ),
            ({"slug": "No Slug"}, "domains[0].categories[0].classes[0].slug: 'No Slug' is no slug"),
            ({"slug": "a__b"}, "classes[0].slug"),
            ({"slug": ""}, "classes[0].slug"),
            ({"slug": "x" * 81}, "classes[0].slug"),
            ({"slug": 5}, "classes[0].slug: expected text, found a number: put it in quotes"),
            ({"slug": True}, "classes[0].slug: expected text, found true/false: put it in quotes"),
            ({"name": None}, "classes[0].name: expected text, found nothing"),
            ({"name": " "}, "classes[0].name: is blank"),
            ({"name": "a\nb"}, "classes[0].name: 'a\\nb'"),
            ({"keywords": "knife"}, "classes[0].keywords: expected a list, found text"),
            ({"keywords": ["knife", 3]}, "classes[0].keywords[1]: expected text, found a number"),
            ({"keyword": []}, "classes[0].keyword: unknown key"),
            (
                {"aliases": ["FRAUD"]},
                "domains[0].categories[0].classes[1].slug: 'fraud' finds the class theft",
            ),
        ],
    )
    def test_the_key_path_of_a_fault_is_named(self, tmp_path: Path, changes: dict[str, object], expected: str) -> None:
        assert expected in str(error_of(tmp_path, small(**changes)))

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({"domains": []}, "domains: is empty"),
            ({"domains": [{"slug": "a", "name": "A", "categories": []}]}, "domains[0].categories: is empty"),
            ({"domains": [{"slug": "a", "name": "A"}]}, "domains[0].categories: is missing"),
            ({"domains": [{"slug": "a", "categories": [3]}]}, "domains[0].name: is missing"),
            ({"domains": {"a": 1}}, "domains: expected a list, found a mapping"),
            ({"domains": [7]}, "domains[0]: expected a mapping, found a number"),
            ({}, "domains: is missing"),
            ([1], "expected a mapping at the top, found a list"),
            ("", "expected a mapping at the top, found nothing"),
            ("a: [1, 2\nb: }", "line 2"),
            ("a: 1\na: 2\n", "key 'a' twice"),
            ("\tdomains: 3", "line 1"),
            ("a: \x07", "unacceptable character"),
            (b"name: \xff\xfe", "not UTF-8"),
            ("&a [*a]", "expected a mapping"),
            ("domains: &a [*a]", "expected a mapping"),
            ("Misuse: {Crime: []}", "Misuse.Crime: expected a list of classes, found nothing"),
            ("Misuse: {Crime: {theft: [x]}}", "Misuse.Crime: expected a list of classes, found a mapping"),
            ("Misuse: [theft]", "Misuse: expected a mapping of categories, found a list"),
            ("Misuse: {}", "Misuse: has no categories"),
            ("Misuse: {Crime: [theft, 5]}", "Misuse.Crime[1]: expected a name, found a number"),
            ("Misuse: {Crime: [窃盗]}", "Misuse.Crime[0]: no slug can be derived"),
            ("Misuse: {Crime: [theft, Theft]}", "domains[0].categories[0].classes[1].slug"),
        ],
    )
    def test_broken_files_say_what_is_wrong(self, tmp_path: Path, content: object, expected: str) -> None:
        assert expected in str(error_of(tmp_path, content))

    @pytest.mark.parametrize("content", ['{"a": {', '{"a": 1, "a": 2}', "[" * 100_000, "", "nul"])
    def test_broken_json(self, tmp_path: Path, content: str) -> None:
        error_of(tmp_path, content, "own.json")

    def test_deeply_nested_yaml(self, tmp_path: Path) -> None:
        assert "nested too deeply" in str(error_of(tmp_path, "[" * 800))

    def test_all_faults_are_told_at_once(self, tmp_path: Path) -> None:
        content = small(slug="A", name="")
        assert str(error_of(tmp_path, content)).count("classes[0].") == 2

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ParamsError, match="No such file"):
            load_taxonomy(tmp_path / "none.yaml")
        with pytest.raises(ParamsError, match="directory"):
            load_taxonomy(tmp_path)
