"""The click commands, made from the table."""

import re
import shlex
from collections.abc import Callable, Collection, Sequence
from typing import Any

import click

from wattline.lists.options import LIST_OPTIONS, WATCH
from wattline.verbs.overview import OVERVIEW
from wattline.verbs.run import run
from wattline.verbs.values import duration_option, text_option
from wattline.verbs.verb import BUNDLE, JSON, Argument, Kind, Option, Verb
from wattline_protocol.text.wording import joined

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}

_AFTER_DASHES = "wattline.after_dashes"

_TYPES: dict[Kind, Any] = {
    "text": click.STRING,
    "integer": click.INT,
    "number": click.FLOAT,
    "path": click.Path(),
    "duration": click.STRING,
}


_CALLBACKS: dict[Kind, Callable[..., Any]] = {
    "text": text_option,
    "path": text_option,
    "duration": duration_option,
}


class AnyCase(click.Choice[str]):
    """Choices that may be typed in upper or lower case, and are shown as they are."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        meant = {choice.casefold(): choice for choice in self.choices}
        return super().convert(meant.get(value.casefold(), value), param, ctx)


def parameters(verb: Verb) -> tuple[Argument | Option, ...]:
    """The verb's own parameters and those that every such verb has."""
    more = [one for one in LIST_OPTIONS if not (verb.streams and one is WATCH)] * bool(verb.lists)
    more += [JSON] if verb.has_json else []
    if verb.role is not None:
        more.append(BUNDLE)
    return (*verb.args, *more)


def command(verb: Verb, name: str) -> click.Command:
    """The click command of a verb."""

    def callback(**values: Any) -> int:
        return run(verb, values | click.get_current_context().meta.get(_AFTER_DASHES, {}))

    return VerbCommand(
        name,
        verb=verb,
        callback=callback,
        params=[_parameter(p) for p in parameters(verb) if not _is_after_dashes(p)],
        help=f"{verb.help}\n\n{verb.details}".strip(),
        short_help=verb.help,
        context_settings=CONTEXT | {"allow_extra_args": True},  # `VerbCommand` names what it takes
    )


def _is_after_dashes(p: Argument | Option) -> bool:
    return isinstance(p, Argument) and p.after_dashes


def _parameter(p: Argument | Option) -> click.Parameter:
    if isinstance(p, Argument):
        return click.Argument(
            [p.name],
            type=_TYPES[p.kind],
            required=p.required,
            nargs=-1 if p.many else 1,
            metavar=metavar(p),
            shell_complete=_complete if p.kind == "text" else None,
        )
    if p.kind == "switch":
        return click.Option([p.name, *p.flags], is_flag=True, default=False, help=p.help)
    preset = {} if p.required else {"default": p.default}  # click takes a default None for a value
    if p.value_alone:
        preset |= {"is_flag": False, "flag_value": p.value_alone}
    return click.Option(
        [p.name, *p.flags],
        type=AnyCase(p.choices) if p.choices else _TYPES[p.kind],
        **preset,
        show_default=p.default not in (None, ""),
        multiple=p.many,
        required=p.required,
        metavar=p.metavar or ("DURATION" if p.kind == "duration" else None),
        callback=None if p.default == "" else _CALLBACKS.get(p.kind),
        shell_complete=_complete if p.kind == "text" and not p.choices else None,
        help=p.help,
    )


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """click's callback for values that the scheduler may complete."""
    if not isinstance(ctx.command, VerbCommand):
        return []
    from wattline.completion.names import complete

    verb, bundle = ctx.command.verb.name, ctx.params.get(BUNDLE.name)
    return complete(verb, param.name or "", incomplete, bundle)


def metavar(p: Argument) -> str:
    """`JOBS`, `[FILE]`, `[COMMAND]...` as usage lines show them."""
    word = p.name.upper()
    shown = word if p.required else f"[{word}]"
    if p.after_dashes:
        return f"[-- {word}...]"
    return f"{shown}..." if p.many else shown


class VerbCommand(click.Command):
    """A command whose help lists its arguments and examples too."""

    def __init__(self, *args: Any, verb: Verb, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verb = verb

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        taker = next((p for p in self.verb.args if _is_after_dashes(p)), None)
        if taker is not None:
            at = args.index("--") if "--" in args else len(args)
            ctx.meta[_AFTER_DASHES] = {taker.name: tuple(args[at + 1 :])}
            has_dashes, args = at < len(args), args[:at]
        line = list(args)  # parsing empties it
        may_be_command = any(not word.startswith("-") for word in args)
        try:
            extra = super().parse_args(ctx, args)
            if extra and not ctx.resilient_parsing:  # a line that is being completed is unfinished
                raise click.UsageError(self._unexpected(ctx, line, extra), ctx)
            return []
        except click.MissingParameter as error:
            text = f"{error.format_message()}{self._help_of(error.param)}"
            raise click.UsageError(text, ctx) from error
        except click.UsageError as error:
            is_value = isinstance(error, click.BadParameter)
            if taker is None or has_dashes or is_value or not may_be_command:
                raise
            text = f"{error.format_message()} A command follows after `--`."
            raise click.UsageError(text, ctx) from error

    def _unexpected(self, ctx: click.Context, line: Sequence[str], words: Sequence[str]) -> str:
        """What is wrong with a line that has these surplus words."""
        shown = joined([repr(word) for word in words])
        if flag := self._lost_flag(ctx, words):
            at = len(line) - 1 - line[::-1].index(words[0])
            right = shlex.join([*ctx.command_path.split(), *line[:at], flag, *line[at:]])
            return f"unexpected {shown}. Did you mean `{right}`?"
        taken = [p for p in self.verb.args if isinstance(p, Argument) and not p.after_dashes]
        if not taken:
            hint = _one_of_list(ctx, words[0])
            return f"unexpected {shown}: this verb takes options only.{hint}"
        return f"unexpected {shown}. {taken[-1].name.upper()} is one word: {taken[-1].help}"

    def _lost_flag(self, ctx: click.Context, words: Sequence[str]) -> str:
        """Of the option that is not given and whose value the only surplus word may be."""
        options = [p for p in self.verb.args if isinstance(p, Option) and p.likely_value]
        likely = [
            p.flags[0]
            for p in options
            if ctx.params[p.name] is None and re.fullmatch(p.likely_value, words[0])
        ]
        return likely[0] if likely and len(words) == 1 else ""

    def _help_of(self, param: click.Parameter | None) -> str:
        """What a missing one is; choices are named already, with nothing after them."""
        if param is None or isinstance(param.type, click.Choice):
            return "."
        return " " + next(p.help for p in parameters(self.verb) if p.name == param.name)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        takers = [metavar(p) for p in self.verb.args if isinstance(p, Argument) and p.after_dashes]
        return [*super().collect_usage_pieces(ctx), *takers]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        arguments = [(metavar(p), p.help) for p in self.verb.args if isinstance(p, Argument)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        super().format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        if self.verb.role is not None:
            formatter.write_paragraph()
            formatter.write_text(f"Role needed: {self.verb.role}.")
        if self.verb.examples:
            with formatter.section("Examples"):
                for example in self.verb.examples:
                    formatter.write(f"  {example}\n")


def _one_of_list(ctx: click.Context, word: str) -> str:
    """What shows one of those that a verb lists: `job` of `jobs`; empty = nothing does."""
    verbs, name = ctx.find_root().command, ctx.info_name or ""
    one = name.removesuffix("s")
    if one == name or not isinstance(verbs, click.Group) or one not in verbs.commands:
        return ""
    return f" One is shown by `wattline {one} {shlex.quote(word)}`."


class Family(click.Group):
    """A verb with members: `power` alone shows, `power shed` acts, `power event add` is deeper."""

    def __init__(self, name: str, verbs: Sequence[Verb], depth: int = 1) -> None:
        own = [verb for verb in verbs if len(verb.words) == depth]
        members = dict.fromkeys(verb.words[depth] for verb in verbs if len(verb.words) > depth)
        super().__init__(
            name,
            help=own[0].help if own else f"{', '.join(members)}.",
            context_settings=CONTEXT,
            invoke_without_command=False,
            no_args_is_help=not own,
        )
        self.alone = command(own[0], name) if own else None
        for member in members:
            inside = [v for v in verbs if v.words[depth : depth + 1] == (member,)]
            self.add_command(_of(member, inside, depth + 1))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        may_name = ctx.resilient_parsing and not args  # the word to complete comes first
        if self.alone is not None and not self._names_member(args) and not may_name:
            self._check_word(ctx, self.alone, args)
            args = [self.alone.name or "", *args]
        return super().parse_args(ctx, args)

    def _check_word(self, ctx: click.Context, alone: click.Command, args: list[str]) -> None:
        """Raises UsageError for a word that is no member where the verb alone takes none."""
        takes_words = any(isinstance(p, click.Argument) for p in alone.params)
        if args and not args[0].startswith("-") and not takes_words:
            raise _no_verb(ctx, args, self.commands, f"{ctx.command_path.split(' ', 1)[-1]} ")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb alone adds no word to the path that hints show."""
        is_verb = self.alone is not None or self._names_member(args) or args[0].startswith("-")
        if not is_verb:
            raise _no_verb(ctx, args, self.commands, f"{ctx.command_path.split(' ', 1)[-1]} ")
        name, found, rest = super().resolve_command(ctx, args)
        return ("" if found is not None and found is self.alone else name), found, rest

    def _names_member(self, args: list[str]) -> bool:
        return bool(args) and (args[0] in self.commands or args[0] in CONTEXT["help_option_names"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return found if found is not None else self.alone

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Members, and words of the verb alone."""
        found = super().shell_complete(ctx, incomplete)
        if self.alone is None:
            return found
        alone = click.Context(self.alone, ctx, resilient_parsing=True)
        alone.params[BUNDLE.name] = ctx.params.get(BUNDLE.name)
        first = next((p for p in self.alone.params if isinstance(p, click.Argument)), None)
        options = self.alone.shell_complete(alone, incomplete)
        return [*found, *options, *(first.shell_complete(alone, incomplete) if first else ())]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those of the verb itself, then the members."""
        if self.alone is not None:
            self.alone.format_options(ctx, formatter)
            self.format_commands(ctx, formatter)
        else:
            super().format_options(ctx, formatter)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.alone is not None:
            pieces = " ".join(self.alone.collect_usage_pieces(ctx))
            formatter.write_usage(ctx.command_path, pieces)
        super().format_usage(ctx, formatter)


def _no_verb(
    ctx: click.Context, words: Sequence[str], members: Collection[str], before: str = ""
) -> click.UsageError:
    """The first of `words` is no verb: mistyped, or of another program."""
    from difflib import get_close_matches

    from wattline.slurm.commands import replacement

    word = words[0]
    if not before and (text := replacement(words)):
        return click.UsageError(f"no verb {word!r}. {text}", ctx)
    near = get_close_matches(word, members)
    hint = f" Did you mean {joined([repr(before + name) for name in near], 'or')}?" if near else ""
    if before and members and not near:
        hint = f" Expected {joined([repr(before + name) for name in members], 'or')}."
    return click.UsageError(f"no verb {before + word!r}.{hint}", ctx)


def _of(name: str, verbs: Sequence[Verb], depth: int) -> click.Command:
    """One verb, or a family where there are several or deeper ones."""
    is_alone = len(verbs) == 1 and len(verbs[0].words) == depth
    return command(verbs[0], name) if is_alone else Family(name, verbs, depth)


def _version_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
        if is_asked and not ctx.resilient_parsing:
            from importlib.metadata import version

            click.echo(f"wattline {version('wattline')}")
            ctx.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Print the version and end.",
    )


class Root(click.Group):
    """`wattline` itself; its help is the overview."""

    def __init__(self, verbs: Sequence[Verb]) -> None:
        super().__init__(
            "wattline",
            context_settings=CONTEXT,
            no_args_is_help=True,
            subcommand_metavar="VERB [ARGUMENTS]...",
            params=[_version_option()],
        )
        for name in dict.fromkeys(verb.words[0] for verb in verbs):
            self.add_command(_of(name, [verb for verb in verbs if verb.words[0] == name], 1))
        self.add_command(_help_command())

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        usage = "[--version] VERB [ARGUMENTS]...  (details: wattline help VERB)"
        formatter.write_usage(ctx.command_path, usage)
        width = max(len(verbs) for rows in OVERVIEW.values() for verbs, _ in rows)
        for section, rows in OVERVIEW.items():
            with formatter.section(section):
                formatter.write_dl([(verbs.ljust(width), text) for verbs, text in rows])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise _no_verb(ctx, args, self.commands)
        return super().resolve_command(ctx, args)


def _help_command() -> click.Command:
    """`wattline help power shed` prints what `wattline power shed --help` prints."""

    def show(words: tuple[str, ...]) -> None:
        context = click.get_current_context().find_root()
        for at, word in enumerate(words):
            found = context.command
            members = found.commands if isinstance(found, click.Group) else {}
            if word not in members:
                family = "".join(f"{name} " for name in context.command_path.split()[1:])
                raise _no_verb(context, words[at:], members, family)
            context = click.Context(members[word], context, word, **CONTEXT)
        click.echo(context.get_help())

    return click.Command(
        "help",
        callback=show,
        params=[click.Argument(["words"], nargs=-1, metavar="[VERB]...")],
        help="Show the help of a verb.",
        context_settings=CONTEXT,
    )
