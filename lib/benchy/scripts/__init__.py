"""Programs that run under the Python of other environments. They import nothing of benchy."""
