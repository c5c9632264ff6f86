"""A lab's own models, outside of the packages: what `name: lab.faulty` imports in the tests."""
