"""Sphinx: README.md, the pages of this folder, the notebooks, and the API reference made from the docstrings.

pip install -e '.[docs]' && sphinx-build -W docs site
sphinx-build -W -D nb_execution_mode=force docs site        runs the notebooks, and shows what they print and draw
"""

import re
import shutil
from pathlib import Path

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

from minicoulomb import __version__

project, author, copyright, release = "minicoulomb", "minicoulomb maintainers", "minicoulomb maintainers", __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
templates_path = ["_templates"]
html_theme, html_title = "furo", f"minicoulomb {release}"
pygments_dark_style = "github-dark"
default_role, smartquotes = "code", False
myst_enable_extensions, myst_heading_anchors = ["dollarmath"], 4
nitpicky = True  # a link to nowhere is a warning, and -W makes it an error
nitpick_ignore_regex = [("py:class", ".*")]  # the types of docstrings are words
linkcheck_timeout, linkcheck_retries = 10, 2  # by hand: sphinx-build -b linkcheck docs links
html_math_renderer = "mathml"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_favicon = "_static/icon.svg"
html_extra_path = ["../minicoulomb/pictures/interactive.html"]

nb_execution_mode, nb_execution_raise_on_error, nb_execution_timeout = "off", True, 600  # seconds for a cell
nb_execution_in_temp = True

autosummary_generate = True
autodoc_docstring_signature = False
autodoc_typehints = "none"  # a docstring gives shapes, which types do not
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 120
napoleon_google_docstring = False

SECTION = re.compile(r"-{3,}$")
PLAIN = re.compile(r"(`[^`]*`)|([*|])")  # text in backticks, or a character that reStructuredText would interpret


def first_page(app, page, source):
    """The first page is README.md, whose links start from the root of the repository."""
    if page == "index":
        readme = (Path(app.srcdir).parent / "README.md").read_text()
        readme = re.sub(r"\]\((?!\w+:|#|docs/)", "](../", readme).replace("](docs/", "](")
        readme = readme.replace("](../CHANGELOG.md", "](changelog.md")
        source[0] = f"{readme}\n{source[0]}"


def copy_notebooks(app, config):
    """Sphinx reads only what is below this folder. The copies keep their times, so that a build reads changed ones."""
    target = Path(app.srcdir) / "notebooks"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(target.parents[1] / "examples/notebooks", target, ignore=shutil.ignore_patterns(".*"))


def notebooks_page(app, page, source):
    """Its links to the notebooks lead to their pages."""
    if page == "notebooks":
        source[0] = source[0].replace("](../examples/notebooks/", "](notebooks/")


def plain_text(app, what, name, obj, options, lines):
    """Docstrings are plain text: an indented block before the first section is a formula, * and | are operators."""
    sections = [number for number, line in enumerate(lines) if SECTION.match(line)]
    text = lines[: sections[0] - 1] if sections else lines[:]
    rest = lines[len(text) :]
    result, formula = [], False
    for line in text:
        if line.strip():
            indented = line.startswith("    ")
            if indented and not formula:
                result += ["", "::", ""]
            elif formula and not indented:
                result.append("")
            formula = indented
        result.append(line if formula else _escaped(line))
    lines[:] = result + [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in rest]


def skip_field(app, what, name, obj, skip, options):
    """The fields of a named tuple, which its docstring describes."""
    return True if (obj.__doc__ or "").startswith("Alias for field number") else None


def _escaped(line):
    return PLAIN.sub(lambda match: match[1] or f"\\{match[2]}", line)


def draw_formula(translator, node):
    """LaTeX as MathML, which browsers draw themselves: no script, no other server. A mistake is a warning."""
    is_block = isinstance(node, nodes.math_block)
    try:
        formula = tex2mathml(node.astext(), as_block=is_block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %s: %s", node.astext(), error, location=node)
    else:
        translator.body.append(f'<div class="math">{formula}</div>' if is_block else formula)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (draw_formula, None), (draw_formula, None))
    app.connect("config-inited", copy_notebooks)
    app.connect("source-read", first_page)
    app.connect("source-read", notebooks_page)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("autodoc-process-docstring", plain_text, priority=100)  # before napoleon
