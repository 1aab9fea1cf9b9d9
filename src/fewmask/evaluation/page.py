"""Pages that work without a network: a template of this folder, filled in."""

from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def rendered(template: str, page: Any) -> str:
    """The HTML of a template that is given `page`; whatever a user wrote is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The charts are our own markup, with every name in them escaped; all else is escaped here.
    environment.filters["inline"] = Markup
    return environment.get_template(template).render(page=page)


def _template(name: str) -> str:
    """A page, or one of the parts that it includes."""
    return resources.files("fewmask.evaluation").joinpath(name).read_text(encoding="utf-8")
