"""Published colourization networks, reimplemented from their papers, to compare their speed."""
