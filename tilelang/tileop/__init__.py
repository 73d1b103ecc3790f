"""What each tile operation means: regions, layouts it needs, and its lowering per target."""
