"""benchy: evaluates many language models, each on the vLLM release that it needs.

The modules are nouns: what a person wrote (yamlfile, schema, config), what follows from it (plan,
rules), what is built (environment, uv), what runs (lease, guard, server, harness) and what comes
out (result, report). Everything up to plan is pure: YAML in, plan out.
"""
