"""Prompt templates: Jinja files to functions that render prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, TemplateError

from spavl_dag.errors import ParamsError


def compile_template(source: str, role: str) -> Callable[[Mapping[str, Any]], str]:
    """A function from variables to the rendered prompt.

    Args:
        source: Jinja source. Nothing is escaped: prompts are plain text.
        role: Named in errors.

    Raises:
        ParamsError: The template is not valid, or (when rendered) uses an unknown variable.
    """
    environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise ParamsError(f"the prompt template of {role} is not valid: {error}", "Fix the .j2 file.") from error

    def render(variables: Mapping[str, Any]) -> str:
        try:
            return template.render(variables).strip()
        except TemplateError as error:
            raise ParamsError(
                f"the prompt template of {role} can't be filled: {error}",
                f"It may use: {', '.join(variables)}.",
            ) from error

    return render


def read_template(path: Path) -> str:
    """Source of a prompt template file.

    Raises:
        ParamsError: The file is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"prompt template {path} can't be read: {error}", "Fix the path in params.yaml.") from error
