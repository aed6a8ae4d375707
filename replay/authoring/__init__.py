"""What a user writes: ``@step``, ``@workflow``, and the functions that build effects."""
