"""What the verbs that set up, check and simulate print."""

from wattline.acts.site import Enrolled, MadeSite


def made(site: MadeSite) -> str:
    """What to do next."""
    first = site.nodes[0] if site.nodes else "NODE"
    return "\n".join(
        [
            f"Made site {site.site} in {site.directory}.",
            f"1. Look over {site.site_file}: power tree, nodes, tariff.",
            f"2. export WATTLINE_BUNDLE={site.admin_bundle}",
            f"3. wattline enroll {first} --role agent --site {site.directory}",
            f"4. wattline scheduler --site {site.directory}",
        ]
    )


def enrolled(member: Enrolled) -> str:
    """Where the bundle lies."""
    return f"Enrolled {member.name} as {member.role}; its bundle is {member.bundle} (secret)."
