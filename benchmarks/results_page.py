"""How a page of results begins: its title, the command, the host, the versions, the commit."""

from typing import Any


def heading(title: str, command: str, about: dict[str, Any]) -> list[str]:
    """The first lines of a page; `about` is what `measured.provenance` gives."""
    host, versions = about["host"], about["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return [
        f"# {title}",
        "",
        "```console",
        command,
        "```",
        "",
        f"Host: {host['cpu_model']}, {host['cores']} cores, {host['memory_mb'] // 1024} GB, "
        f"{host['system']}; load {host['load_1m']} at the start; Python {host['python']}, {named}; "
        f"commit {(about['git_commit'] or 'unknown')[:7]}.",
        "",
    ]
