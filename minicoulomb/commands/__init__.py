"""One file for each command of the command line: it parses, calls, prints."""
