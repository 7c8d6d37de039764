"""Prompt templates: Jinja files to functions that render prompts.

Templates are shared and copied between people, so they run in Jinja's sandbox: a template reads its variables and
nothing else of the process, no other file, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from spavl_dag.errors import ParamsError

_OTHER_FILES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def compile_template(source: str, role: str) -> Callable[[Mapping[str, Any]], str]:
    """A function from variables to the rendered prompt.

    Args:
        source: Jinja source. Nothing is escaped: prompts are plain text.
        role: Named in errors.

    Raises:
        ParamsError: The template is not valid, or (when rendered) uses an unknown variable, something the sandbox
            forbids, or an expression that fails.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    try:
        if any(environment.parse(source).find(kind) for kind in _OTHER_FILES):
            raise ValueError("it includes, imports or extends another template")
        template = environment.from_string(source)
        template.globals = dict(template.globals)  # Jinja copies them at each call, a chain of mappings slowly
    except Exception as error:  # deep nesting, for one, ends in Python's own exceptions
        message = f"the prompt template of {role} is not valid: {_words(error)}"
        raise ParamsError(message, "Fix the .j2 file.") from error

    def render(variables: Mapping[str, Any]) -> str:
        try:
            return template.render(variables).strip()
        except Exception as error:  # an expression may raise anything: 1/0, 'a' + 1
            raise ParamsError(
                f"the prompt template of {role} can't be filled: {_words(error)}",
                f"It may use: {', '.join(variables)}.",
            ) from error

    return render


def read_template(path: Path) -> str:
    """Source of a prompt template file, without a byte order mark.

    Raises:
        ParamsError: The file is missing or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"prompt template {path} can't be read: {error}", "Fix the path in params.yaml.") from error


def _words(error: Exception) -> str:
    """The exception's class and first line, for some say nothing and some fill pages; and where, if known."""
    lines = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    return f"line {error.lineno}: {words}" if isinstance(error, TemplateSyntaxError) else words
