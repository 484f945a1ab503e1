"""`python -m mer_search.cli` is `mer-search`."""

from mer_search.cli import main

main(prog_name="mer-search")
