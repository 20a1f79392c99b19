"""`python -m deploy.backup`: take, list, prove and restore backups."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from deploy.backup.errors import BackupError
from deploy.backup.manifest import Summary, read_summary
from deploy.backup.restoring import put_back
from deploy.backup.site import Site, running_stack, site_of_environment
from deploy.backup.stack import restore_stack
from deploy.backup.taking import newest, prune, take, verify, whole_backups
from deploy.local.errors import StackError
from deploy.local.stack_folder import REPOSITORY, StackFolder

_MEBIBYTE = 1024 * 1024


def main() -> int:
    options = _parser().parse_args()
    backups = Path(options.folder or os.environ.get("MEDIABUS_BACKUP_DIR") or REPOSITORY / "backups").resolve()
    try:
        match options.command:
            case "create":
                site = _site(options.environment)
                folder = asyncio.run(
                    take(site, backups, with_contents=not options.without_contents, report=lambda line: print(line))
                )
                print(f"{folder}: {_described(read_summary(folder))}")
            case "list":
                for folder in whole_backups(backups):
                    print(f"{folder.name}  {_described(read_summary(folder))}")
            case "prune":
                count, freed_bytes = prune(backups, options.keep)
                print(f"removed {count} backups, {freed_bytes / _MEBIBYTE:.1f} MiB became free")
            case "verify":
                folder = _chosen(backups, options.name)
                print(f"{folder.name} is whole: {_described(asyncio.run(verify(folder)))}")
            case "restore":
                _restore(_chosen(backups, options.name), options)
    except (BackupError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.backup",
        description="Backups of the embedded stack, or with --environment of any installation.",
    )
    parser.add_argument("--folder", help="where backups are; MEDIABUS_BACKUP_DIR, or backups/ in the clone")
    parser.add_argument(
        "--environment", action="store_true", help="addresses from MEDIABUS_* variables, not from the embedded stack"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="take a backup while everything runs")
    create.add_argument(
        "--without-contents", action="store_true", help="list files with their checksums, and leave their bytes"
    )
    commands.add_parser("list", help="show the backups that are whole")
    of_prune = commands.add_parser(
        "prune", help="remove old backups and the bytes that none names; never beside create"
    )
    of_prune.add_argument("keep", type=_at_least_one, help="how many of the newest stay")
    of_verify = commands.add_parser("verify", help="read every byte of a backup again")
    of_restore = commands.add_parser("restore", help="put a backup into an empty installation that does not run")
    for command in (of_verify, of_restore):
        command.add_argument("name", nargs="?", help="the newest without one")
    of_restore.add_argument(
        "--keep-files", action="store_true", help="replace the records of the stack that is there, keep its files"
    )
    return parser


def _at_least_one(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError("keep at least one")
    return count


def _site(of_environment: bool) -> Site:
    return site_of_environment() if of_environment else running_stack(StackFolder.configured())


def _chosen(backups: Path, name: str | None) -> Path:
    folder = backups / name if name else newest(backups)
    if folder is None:
        raise BackupError(f"there is no backup in {backups}")
    read_summary(folder)
    return folder


def _restore(folder: Path, options: argparse.Namespace) -> None:
    if options.environment:
        restored = asyncio.run(put_back(site_of_environment(), folder, report=print))
    else:
        stack = StackFolder.configured()
        restored = asyncio.run(restore_stack(stack, folder, keep_files=options.keep_files, report=print))
    print(
        f"restored {folder.name}; {restored.told_again} events will be told again. Start everything, then have the "
        "reconciler look: files that are newer than the backup show up as orphans, to be adopted or removed"
    )


def _described(summary: Summary) -> str:
    files, size_bytes = summary.bucket_files + summary.disk_files, summary.bucket_bytes + summary.disk_bytes
    contents = "with their bytes" if summary.has_contents else "listed only"
    return (
        f"records of {summary.records_of.isoformat(timespec='seconds')}, {files} files, "
        f"{size_bytes / _MEBIBYTE:.1f} MiB, {contents}"
    )


if __name__ == "__main__":
    sys.exit(main())
