"""What training needs in both frameworks and no tensor is involved in."""
