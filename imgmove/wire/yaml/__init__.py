"""YAML: the one door of PyYAML."""
