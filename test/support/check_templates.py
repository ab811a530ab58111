"""Holds CloudFormation templates against cfn-lint: region and files as arguments, a list of findings as JSON on standard output."""

import json
import sys

from cfnlint.api import ManualArgs, lint_file
from pathlib import Path

region, *files = sys.argv[1:]
found = []
for file in files:
    for match in lint_file(Path(file), config=ManualArgs(regions=[region], include_checks=["W", "E"])):
        found.append(f"{Path(file).name}, line {match.linenumber}: {match.rule.id} {match.message}")
json.dump(found, sys.stdout)
