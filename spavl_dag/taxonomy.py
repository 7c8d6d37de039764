"""The classes of harm: what they are called, how they nest, and how a written name is found among them.

Belongs here: reading and checking a taxonomy file, and looking classes up. Not here: which image has which
class (`media.ingest`), or how a class is drawn (`demo`). Over 400 lines, for a third of it puts into words what is
wrong with a file that people write by hand, in the terms of the checks that stand beside it.

A node has three names: `slug` is its identity in files and columns, `name` what people read, `published`
how the released data set spells it, faults included, so that exports match it.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from spavl_dag.errors import ParamsError

SLUG_PATTERN = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
"""Lower case ASCII words joined by single underscores: safe as a file name, a DVC key and a Dagster key."""

BUILTIN_TAXONOMY = Path(__file__).parent / "resources" / "taxonomy.yaml"
"""The taxonomy of SPA-VL with its 53 classes, used unless params name another file."""

_MAX_BYTES = 10_000_000
_MAX_PROBLEMS_SHOWN = 10
_DOC_HINT = "spavl_dag/resources/taxonomy.yaml shows the expected shape: domains > categories > classes."

# Spelling faults of the published taxonomy. They are fixed when names are derived from a file in the
# published shape, so that it yields the same slugs and names as the built-in file.
_MENDED_SPELLINGS = {
    "Human Autonomy & IntegrityHarms": "Human Autonomy & Integrity Harms",
    "Representation & ToxicityHarms": "Representation & Toxicity Harms",
    "disablity discrimination": "disability discrimination",
    "scamns": "scams",
    "paypal lending": "PayPal lending",
}


class UnknownClassError(ParamsError):
    """No class of the taxonomy goes by this name.

    Attributes:
        suggestions: Slugs of classes with a similar name, best first; may be empty.
    """

    def __init__(self, text: str, suggestions: tuple[str, ...]) -> None:
        near = f"Did you mean {' or '.join(suggestions)}?"
        hint = near if suggestions else "Use the slug, a name or an alias of a class of the taxonomy."
        super().__init__(f"unknown class {text[:80]!r}", hint)
        self.suggestions = suggestions


def derive_slug(name: str) -> str:
    """The slug of a name: lower case, every run of other characters than a-z and 0-9 one underscore.

    Returns:
        The slug; empty when the name has no such character.
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _slug(value: str) -> str:
    if len(value) > 80 or not SLUG_PATTERN.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is no slug: use a-z, 0-9 and single _ between words, at most 80 characters")
    return value


def _label(value: str) -> str:
    if not value.strip():
        raise ValueError("is blank")
    if value != value.strip() or not value.isprintable():
        raise ValueError(f"{value[:80]!r} has outer white space or a character that can't be printed")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
Label = Annotated[str, AfterValidator(_label)]


class _Node(BaseModel):
    """What nodes of all three levels share.

    Attributes:
        slug: Identity of the node in files and columns.
        name: Display name, spelled correctly.
        published: Spelling in the published data set; the display name unless the file gives one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    slug: Slug
    name: Label
    published: Label = ""

    @model_validator(mode="before")
    @classmethod
    def _published_defaults_to_name(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "published" in data:
            return data
        name = data.get("name")
        # A missing or bad name is told once, as the name's fault.
        return data | {"published": name if isinstance(name, str) and name.strip() else "-"}


class HarmClass(_Node):
    """One class of harm, the leaf of the taxonomy.

    Attributes:
        aliases: Further spellings under which the class is found.
        keywords: Search terms for images which may stand for the class.
    """

    aliases: tuple[Label, ...] = Field(default=(), strict=False)
    keywords: tuple[Label, ...] = Field(default=(), strict=False)
    _parents: tuple[_Node, _Node] = PrivateAttr()

    @property
    def class1(self) -> str:
        """Published spelling of the domain."""
        return self._parents[0].published

    @property
    def class2(self) -> str:
        """Published spelling of the category."""
        return self._parents[1].published

    @property
    def class3(self) -> str:
        """Published spelling of the class itself."""
        return self.published

    @property
    def names(self) -> tuple[str, str, str]:
        """Display names of domain, category and class."""
        return (self._parents[0].name, self._parents[1].name, self.name)


class Category(_Node):
    """The middle level: a group of classes."""

    classes: tuple[HarmClass, ...] = Field(min_length=1, strict=False)


class Domain(_Node):
    """The top level: a group of categories."""

    categories: tuple[Category, ...] = Field(min_length=1, strict=False)


@dataclass(frozen=True)
class _Problem:
    where: str
    what: str


class Taxonomy(BaseModel):
    """A whole taxonomy, in the order of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    domains: tuple[Domain, ...] = Field(min_length=1, strict=False)

    def model_post_init(self, _context: Any) -> None:
        """Tell every class which domain and category it is in."""
        for domain in self.domains:
            for category in domain.categories:
                for harm_class in category.classes:
                    harm_class._parents = (domain, category)

    @cached_property
    def classes(self) -> tuple[HarmClass, ...]:
        """All classes, in the order of the file."""
        return tuple(harm_class for _, harm_class in self._placed_classes())

    @cached_property
    def by_slug(self) -> dict[str, HarmClass]:
        """The classes by their slug, in the order of the file."""
        return {harm_class.slug: harm_class for harm_class in self.classes}

    def find_class(self, text: str) -> HarmClass:
        """The class with this slug, display name, published name or alias.

        Case, white space, hyphens and underscores make no difference, so "Fake News", "fake-news" and
        "fake_news" are the same class.

        Raises:
            UnknownClassError: No class goes by this name; similar ones are suggested.
        """
        key = _lookup_key(text)
        found = self._lookup.get(key)
        if found is None:
            # Long or empty text can't be a near miss, and comparing it would take time for nothing.
            plausible = 0 < len(key) <= 200
            near = difflib.get_close_matches(key, self._lookup, n=3, cutoff=0.7) if plausible else []
            raise UnknownClassError(text, tuple(dict.fromkeys(self._lookup[name].slug for name in near)))
        return found

    @cached_property
    def _lookup(self) -> dict[str, HarmClass]:
        return {
            _lookup_key(text): harm_class
            for harm_class in self.classes
            for text in (harm_class.slug, harm_class.name, harm_class.published, *harm_class.aliases)
        }

    def _placed_classes(self) -> Iterator[tuple[str, HarmClass]]:
        for d, domain in enumerate(self.domains):
            for c, category in enumerate(domain.categories):
                for k, harm_class in enumerate(category.classes):
                    yield f"domains[{d}].categories[{c}].classes[{k}]", harm_class

    def _ambiguities(self) -> Iterator[_Problem]:
        """Slugs that are used twice, and names that would find two classes."""
        slugs: dict[str, str] = {}
        names: dict[str, tuple[str, HarmClass]] = {}
        for where, harm_class in self._placed_classes():
            if harm_class.slug in slugs:
                what = f"{harm_class.slug!r} is the slug of {slugs[harm_class.slug]} too"
                yield _Problem(f"{where}.slug", what)
                continue
            slugs[harm_class.slug] = where
            spellings = [(key, getattr(harm_class, key)) for key in ("slug", "name", "published")]
            spellings += [(f"aliases[{i}]", alias) for i, alias in enumerate(harm_class.aliases)]
            for key, spelling in spellings:
                other_place, other = names.setdefault(_lookup_key(spelling), (where, harm_class))
                if other is not harm_class:
                    what = f"{spelling!r} finds the class {other.slug} ({other_place}) too"
                    yield _Problem(f"{where}.{key}", what)
        for level, nodes in self._sibling_groups():
            seen: dict[str, int] = {}
            for i, node in enumerate(nodes):
                if node.slug in seen:
                    what = f"{node.slug!r} is the slug of {level}[{seen[node.slug]}] too"
                    yield _Problem(f"{level}[{i}].slug", what)
                seen.setdefault(node.slug, i)

    def _sibling_groups(self) -> Iterator[tuple[str, tuple[_Node, ...]]]:
        yield "domains", self.domains
        for d, domain in enumerate(self.domains):
            yield f"domains[{d}].categories", domain.categories


def load_taxonomy(path: Path = BUILTIN_TAXONOMY) -> Taxonomy:
    """Read and check a taxonomy file.

    Args:
        path: A YAML file in the shape of `resources/taxonomy.yaml`, or one (YAML or JSON) in the shape of the
            published taxonomy: a mapping of domains to mappings of categories to lists of classes. Slugs and
            display names are then derived.

    Raises:
        ParamsError: The file can't be read or is no valid taxonomy; every problem is named with its key path.
    """
    data = _parse(path, _read_text(path))
    if not isinstance(data, dict):
        raise ParamsError(f"{path}: expected a mapping at the top, found {_kind(data)}", _DOC_HINT)
    if "domains" not in data and data:
        data = _from_published_shape(path, data)
    try:
        taxonomy = Taxonomy.model_validate(data)
    except ValidationError as error:
        # A list counts as too short, too, when all of its entries have faults; those are told already.
        faults = [e for e in error.errors() if e["type"] != "too_short" or not e["input"]]
        raise _invalid(path, [_Problem(_key_path(e["loc"]), _explain(e)) for e in faults]) from None
    except RecursionError:
        raise ParamsError(f"{path}: the file refers to itself", _DOC_HINT) from None
    problems = list(taxonomy._ambiguities())
    if problems:
        raise _invalid(path, problems)
    return taxonomy


def _lookup_key(text: str) -> str:
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", text).casefold())


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        hint = "Check `taxonomy` in params.yaml."
        raise ParamsError(f"{path}: the taxonomy can't be read: {reason}", hint) from None
    if len(raw) > _MAX_BYTES:
        raise ParamsError(f"{path}: larger than {_MAX_BYTES // 1_000_000} MB", _DOC_HINT)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "Save the file with the encoding UTF-8."
        byte = f"byte {error.start} is 0x{raw[error.start]:02x}"
        raise ParamsError(f"{path}: not UTF-8 ({byte})", hint) from None


def _parse(path: Path, text: str) -> Any:
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_unique_pairs)
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: "
        raise ParamsError(f"{path}: {where}{error.msg}", "Fix the JSON.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ParamsError(f"{path}: {where}{error.problem}", "Fix the YAML.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ParamsError(f"{path}: {str(error).splitlines()[0]}", "Fix the file.") from None
    except RecursionError:
        raise ParamsError(f"{path}: nested too deeply", _DOC_HINT) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses what YAML would silently drop: a key given twice.

    Not on libyaml's loader: it is faster, but a deeply nested file makes it crash the process.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, or raise at the second of two equal keys."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"key {key.value!r} twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return super().construct_mapping(node, deep)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise ValueError(f"key {twice!r} twice")
    return dict(pairs)


def _from_published_shape(path: Path, data: dict[Any, Any]) -> dict[str, Any]:
    """Turn {domain: {category: [class, …]}} into the shape of the models."""
    problems: list[_Problem] = []

    def node(where: str, published: Any) -> dict[str, Any]:
        if not isinstance(published, str):
            problems.append(_Problem(where, f"expected a name, found {_kind(published)}"))
            return {}
        fixed = _MENDED_SPELLINGS.get(published, published)
        if not derive_slug(fixed):
            what = f"no slug can be derived from {published!r}: write the file with `slug:` and `name:`"
            problems.append(_Problem(where, what))
        name = fixed[:1].upper() + fixed[1:]
        return {"slug": derive_slug(fixed)[:80], "name": name, "published": published}

    domains = []
    for domain, categories in data.items():
        if not isinstance(categories, dict):
            what = f"expected a mapping of categories, found {_kind(categories)}"
            problems.append(_Problem(str(domain), what))
            continue
        shaped = []
        for category, classes in categories.items():
            where = f"{domain}.{category}"
            if not isinstance(classes, list) or not classes:
                problems.append(_Problem(where, f"expected a list of classes, found {_kind(classes)}"))
                continue
            leaves = [node(f"{where}[{i}]", name) for i, name in enumerate(classes)]
            shaped.append(node(where, category) | {"classes": leaves})
        if not categories:
            problems.append(_Problem(str(domain), "has no categories"))
        domains.append(node(str(domain), domain) | {"categories": shaped})
    if problems:
        raise _invalid(path, problems)
    return {"domains": domains}


def _invalid(path: Path, problems: list[_Problem]) -> ParamsError:
    lines = [f"  {problem.where or '(top)'}: {problem.what}" for problem in problems[:_MAX_PROBLEMS_SHOWN]]
    if len(problems) > _MAX_PROBLEMS_SHOWN:
        lines.append(f"  … and {len(problems) - _MAX_PROBLEMS_SHOWN} more")
    return ParamsError(f"{path}: not a valid taxonomy\n" + "\n".join(lines), _DOC_HINT)


def _key_path(loc: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _explain(error: Any) -> str:
    """A pydantic error in words that need no knowledge of pydantic."""
    kind, value = error["type"], error.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "too_short":
        return "is empty: at least one entry is needed"
    if kind == "string_type":
        return f"expected text, found {_kind(value)}" + ("" if value is None else ": put it in quotes")
    if kind in ("tuple_type", "model_type", "model_attributes_type"):
        return f"expected a {'list' if kind == 'tuple_type' else 'mapping'}, found {_kind(value)}"
    return str(error["msg"]).removeprefix("Value error, ")


def _kind(value: object) -> str:
    if value is None or value == [] or value == {}:
        return "nothing"
    names = {"bool": "true/false", "int": "a number", "float": "a number", "str": "text", "list": "a list"}
    kind = type(value).__name__
    return names.get(kind, "a mapping" if kind == "dict" else f"a {kind}")
