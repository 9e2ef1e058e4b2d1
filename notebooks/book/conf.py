"""Sphinx's settings for the book. Nothing is executed, fetched or imported here; ``build.py`` lays out the pages."""

import re
from dataclasses import is_dataclass
from pathlib import Path

HERE = Path(__file__).parent

project = "mtlora_lite"
author = copyright = "the mtlora_lite authors"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

# Notebooks show the outputs that are stored in them, which `make test` compares.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4  # README.md#backbones and the like

autodoc_default_options = {"members": True, "member-order": "bysource", "ignore-module-all": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
autosummary_generate = False  # every page is laid out already
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True  # else the fields of a dataclass would stand there twice
napoleon_custom_sections = [("Shapes", "Returns")]
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "mtlora_lite"
html_static_path = [str(HERE / "static")]
html_css_files = ["book.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_math_renderer = "mathml"  # see below


def setup(app):
    """Equations become MathML, which browsers lay out by themselves, with a font that lies in the site."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_display, None))
    app.connect("builder-inited", _bring_font)
    app.connect("autodoc-process-signature", _readable_defaults)
    app.connect("autodoc-process-docstring", _fields_as_parameters, priority=900)  # after napoleon
    app.connect("object-description-transform", _short_values)


def _inline(translator, node):
    _write(translator, node, display=False)


def _display(translator, node):
    _write(translator, node, display=True)


def _write(translator, node, display):
    from docutils.nodes import SkipNode
    from math_core import LatexToMathML  # an equation that it cannot read is an error

    translator.body.append(LatexToMathML().convert_with_local_state(node.astext(), displaystyle=display))
    raise SkipNode


def _bring_font(app):
    """STIX Two Math, from the package that carries it, to where ``book.css`` looks for it."""
    from importlib.resources import files
    from shutil import copyfile

    folder = Path(app.outdir) / "_static"
    folder.mkdir(parents=True, exist_ok=True)
    copyfile(files("ziamath.fonts") / "STIXTwoMath-Regular.ttf", folder / "STIXTwoMath-Regular.ttf")


def _readable_defaults(app, what, name, obj, options, signature, returned):
    """A default that is made anew each time stands as ``<factory>`` in a signature, which Sphinx cannot parse."""
    return (signature.replace("<factory>", "..."), returned) if signature else None


def _fields_as_parameters(app, what, name, obj, options, lines):
    """The attributes of a dataclass are what it is called with."""
    if what == "class" and is_dataclass(obj):
        lines[:] = [re.sub("^:ivar ", ":param ", re.sub("^:vartype ", ":type ", line)) for line in lines]
        lines[:] = [re.sub(r"\b(collections\.abc|pathlib|typing)\.", "", line) for line in lines]


def _short_values(app, domain, kind, content):
    """The value of a constant is shown where it fits a line; a whole table is looked up in the source."""
    if kind == "data":
        signature = content.parent[0]
        for part in [part for part in signature if part.astext().startswith(" =") and len(part.astext()) > 72]:
            signature.remove(part)
