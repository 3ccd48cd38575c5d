"""Types, messages and files shared by all Wattline programs; imports nothing of ours."""
