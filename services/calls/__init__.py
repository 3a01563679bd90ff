"""What is true of a call wherever it is: pure functions over the schemas. A closed list of modules."""
