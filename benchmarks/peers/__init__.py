"""Other people's colouring networks, rebuilt from their papers, to be timed beside colorjax."""
