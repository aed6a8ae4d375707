"""``check``: the linter for what makes a workflow differ from its replay."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from replay.cli import options
from replay.cli.exits import Exit
from replay.cli.options import pass_scene
from replay.cli.scene import Scene
from replay.cli.screen import styled
from replay.cli.text import count, plain

if TYPE_CHECKING:
    from replay.lint import Finding


@click.command()
@click.argument("targets", nargs=-1, metavar="[PATH|MODULE]...")
@click.option("--rules", is_flag=True, help="Show what is looked for, and end.")
@options.modules
@options.output
@pass_scene
def check(scene: Scene, targets: Sequence[str], rules: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Find what makes workflows differ from their replay: clocks, randomness, I/O and more; exit code 1 on findings.

    Source is read, nothing is imported. Without targets the configured modules are checked, or the current folder.
    A line is exempt with the comment `# replay: allow[RPL101]`.
    """
    if rules:
        _show_rules(scene)
        return
    found = _findings(scene, targets or scene.settings.modules or (".",))
    if scene.as_json:
        scene.document({"findings": [finding.as_dict() for finding in found]})
    else:
        _draw(scene, found)
    if found:
        click.get_current_context().exit(Exit.NEGATIVE)


def _findings(scene: Scene, targets: Sequence[str]) -> list[Finding]:
    from replay.lint import check_module, check_paths

    scene.make_importable()
    paths = [Path(target) for target in targets if _is_path(target)]
    found = set(check_paths(paths)) if paths else set()
    for target in targets:
        if not _is_path(target):
            found |= set(check_module(target))
    return sorted(found)


def _is_path(target: str) -> bool:
    return Path(target).exists() or target.endswith(".py") or "/" in target


def _draw(scene: Scene, found: Sequence[Finding]) -> None:
    screen = scene.screen
    for finding in found:
        title = styled(f"{plain(finding.path)}:{finding.line}:{finding.column}: ", "bold")
        title.append(f"{finding.code} {finding.rule}", "red")
        title.append(f": {plain(finding.message)}" + (f" [{plain(finding.function)}]" if finding.function else ""), "default")
        screen.console.print(title, soft_wrap=True)
        screen.console.print(styled(f"    {plain(finding.advice)}", "dim"), soft_wrap=True)
    files = len({finding.path for finding in found})
    scene.note(f"{count(len(found), 'finding')} in {count(files, 'file')}" if found else "no findings")


def _show_rules(scene: Scene) -> None:
    from replay.lint import RULES

    if scene.as_json:
        scene.document(
            {"rules": [{"code": rule.code, "name": rule.name, "reason": rule.reason, "advice": rule.advice} for rule in RULES.values()]}
        )
        return
    for rule in RULES.values():
        scene.say(f"{rule.code} {rule.name}\n    {rule.reason}\n    {rule.advice}")
