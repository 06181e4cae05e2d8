"""What several families are made of; imports no family."""
