"""Pictures that follow sliders and menus, and are still there when no kernel runs."""

import zlib
from collections.abc import Callable
from typing import Any


def interact(draw: Callable[..., Any], **controls: Any) -> None:
    """Show ``draw(**values)``, and again whenever a control moves.

    The first picture is an ordinary output of the cell, which is saved with the notebook and exported. What follows
    appears in an ``Output`` widget, the one way to draw anew that JupyterLab, Colab, VS Code and Voila have in common,
    and hides the first.

    Args:
        draw: from the controls' values to a ``Picture`` or a viewer.
        **controls: widgets of ipywidgets, by the names of ``draw``'s arguments.
    """
    import ipywidgets as widgets
    from IPython.display import clear_output, display

    class Controls(widgets.VBox):
        def __repr__(self) -> str:  # what stands where no widget can be shown
            return "Sliders and menus: they need a running kernel."

    def drawn() -> dict[str, Any]:
        return draw(**{name: control.value for name, control in controls.items()})._repr_mimebundle_()

    first, later = drawn(), widgets.Output()
    name = f"lrnet-first-{zlib.crc32(first['text/html'].encode()):08x}"

    def follow(_change: Any) -> None:
        with later:
            bundle = drawn()
            clear_output(wait=True)
            hidden = f"<style>.{name} {{ display: none; }}</style>"
            display({**bundle, "text/html": hidden + bundle["text/html"]}, raw=True)

    for control in controls.values():
        control.observe(follow, names="value")
    row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    display(Controls([row, later]))
    display({**first, "text/html": f'<div class="{name}">{first["text/html"]}</div>'}, raw=True)
