"""Library: manifests (and training journals) to fragments of the HTML report, which Flyte Decks show as well."""
