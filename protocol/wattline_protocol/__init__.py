"""Words, messages and files shared by every Wattline program; imports nothing of ours."""
