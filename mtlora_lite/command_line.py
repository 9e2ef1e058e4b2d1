"""How commands are written on a command line: tyro reads their dataclasses, and what goes wrong is said in one line."""

import dataclasses
import json
import os
import select
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import tyro

from mtlora_lite.archives import SOURCES
from mtlora_lite.balancing import BALANCERS, WEIGHTINGS
from mtlora_lite.config import PRECISIONS, PRESETS, read_option
from mtlora_lite.datasets import ON_ERROR
from mtlora_lite.decoders import DECODERS
from mtlora_lite.distributed import disconnect, is_main
from mtlora_lite.export import FORMS
from mtlora_lite.extras import MissingExtraError
from mtlora_lite.interrupts import Interrupted
from mtlora_lite.layouts import BrokenFileError
from mtlora_lite.methods import METHODS
from mtlora_lite.metrics import PROTOCOLS
from mtlora_lite.paths import command
from mtlora_lite.references import PUBLISHED
from mtlora_lite.tasks import TASKS
from mtlora_lite.transforms import AUGMENTATIONS

# A command: its options, whose docstring is its help, and what it does with them.
Commands = Mapping[str, tuple[type, Callable[[Any], int]]]

# What stands for the value of an option in --help, by the name of its field; otherwise its type does.
VALUES: dict[str, str] = {
    "photos": "PHOTO|VIDEO|FOLDER ...",
    "to": f"{{{','.join(FORMS)}}}",
    "name": f"{{{','.join(SOURCES)}}}|ADDRESS",
    "archive": "FILE",
    "folder": "FOLDER",
    "on_error": f"{{{','.join(ON_ERROR)}}}",
    "config": "FILE",
    "checkpoint": "FOLDER",
    "tasks": f"{{{','.join(TASKS)}}} ...",
    "method": f"{{{','.join(METHODS)}}}",
    "decoder": f"{{{','.join(DECODERS)}}}",
    "protocol": f"{{{','.join(PROTOCOLS)}}}",
    "preset": f"{{{','.join(PRESETS)}}}",
    "weighting": f"{{{','.join(WEIGHTINGS)}}}",
    "balance": f"{{{','.join(BALANCERS)}}}",
    "trackers": "NAME ...",
    "precision": f"{{{','.join(PRECISIONS)}}}",
    "reference": f"FILE|{'|'.join(PUBLISHED)}",
    "augment": f"{{{','.join(AUGMENTATIONS)}}} ...",
    "methods": "METHOD[@OPTION=VALUE]... ...",
    "lrs": "FLOAT ...",
}
POSITIONAL = ("name",)  # given by its place, as everything is that has no default
# What goes wrong for reasons a user can mend: said in one line. Anything else is a bug and shows its traceback.
USER_ERRORS = (ValueError, OSError, MemoryError, BrokenFileError, FloatingPointError, MissingExtraError)


def _as_shown(config: type, defaults: Mapping[str, Any], doc: str) -> type:
    """The dataclass of a command's options, with what tyro is to show of them, and other defaults for some."""
    hints = get_type_hints(config)
    fields = [
        (option.name, _shown(option, hints[option.name]), _default_field(option, defaults))
        for option in dataclasses.fields(config)
    ]
    # What is wrong with the values is said where they are used, in our words and not in tyro's.
    names = {"__doc__": doc, "__post_init__": lambda self: None}
    return dataclasses.make_dataclass(config.__name__, fields, bases=(config,), namespace=names, frozen=True)


def _shown(option: dataclasses.Field, hint: Any) -> Any:
    """The type of an option with what tyro is to show of it."""
    metavar = option.metadata.get("values", VALUES.get(option.name))  # a field may know its values better
    shown = Annotated[hint, tyro.conf.arg(metavar=metavar, help_behavior_hint=_default)]
    return tyro.conf.Positional[shown] if option.name in POSITIONAL else shown


def _default(text: str) -> str:
    """Nothing for a default of nothing: the description says what happens then."""
    return "" if text in ("", "None") else f"(default: {text})"


def _default_field(option: dataclasses.Field, defaults: Mapping[str, Any]) -> Any:
    if option.name in defaults:
        return field(default_factory=lambda: defaults[option.name])
    return field(default=option.default, default_factory=option.default_factory)


def _registry() -> tyro.constructors.ConstructorRegistry:
    """How a mapping of options is written on the command line: KEY=VALUE, with VALUE in JSON or a plain word."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def options(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec | None:
        if info.type_origin is not Mapping:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs="*",
            metavar="KEY=VALUE ...",
            instance_from_str=lambda words: dict(read_option(word) for word in words),
            is_instance=lambda value: isinstance(value, Mapping),
            str_from_instance=lambda value: [f"{key}={json.dumps(item)}" for key, item in value.items()],
        )

    return registry


def run_one(
    commands: Commands,
    arguments: Sequence[str],
    prog: str,
    description: str,
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> int:
    """Run one of several commands and return its exit status.

    Args:
        commands: by their names.
        arguments: what was typed.
        prog: what is typed before them, for the help.
        description: of all of them, for the help.
        defaults: {command: {option: value}} that replace the defaults of options.
    """
    try:
        try:
            return _run(_parse(commands, arguments, prog, description, defaults), commands, arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        return 128 + signal.SIGPIPE if _reader_left() else fail(error)


def _parse(
    commands: Commands, arguments: Sequence[str], prog: str, description: str, defaults: Mapping[str, Mapping[str, Any]]
) -> Any:
    """The options of the command that was typed."""
    shown = {
        # Of all commands the list says one sentence each; the one that is asked for is explained.
        name: _as_shown(config, defaults.get(name, {}), config.__doc__ if name in arguments else _brief(config))
        for name, (config, _) in commands.items()
    }
    return tyro.extras.subcommand_cli_from_dict(
        shown,
        prog=prog,
        description=description,
        args=arguments,
        config=(tyro.conf.PositionalRequiredArgs, tyro.conf.DisallowNone),
        registry=_registry(),
    )


def _brief(config: type) -> str:
    return config.__doc__.partition("\n")[0]


def _run(parsed: Any, commands: Commands, arguments: Sequence[str]) -> int:
    config, run = next((config, run) for config, run in commands.values() if isinstance(parsed, config))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say
            return run(config(**vars(parsed)))
    except BrokenPipeError:
        raise
    except USER_ERRORS as error:
        return fail(error)
    except Interrupted as stop:
        _tell(f"{stop}{_how_to_go_on(parsed, arguments)}")
        return stop.status
    except KeyboardInterrupt:
        _tell("stopped")
        return 130
    finally:
        disconnect()


def _reader_left() -> bool:
    """Whether nobody reads what is printed any more, as after ``| head``; the rest of it is dropped then."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # a pipe without a reader is reported unasked
    left = bool(output.poll(0))
    if left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return left


def _how_to_go_on(config: Any, arguments: Sequence[str]) -> str:
    """The command that resumes the run that a command has left, where it can."""
    if not hasattr(config, "resume"):
        return ""
    return f" Go on with: {command()} {shlex.join([*arguments, *([] if config.resume else ['--resume'])])}"


def fail(error: Exception) -> int:
    """Say what went wrong; returns the exit status."""
    _tell(f"error: {error}")
    return 2


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """A warning without the place in the source that gave it."""
    _tell(f"warning: {message}")


def _tell(text: str) -> None:
    """To people, once, however many processes there are."""
    if is_main():
        print(text, file=sys.stderr)
