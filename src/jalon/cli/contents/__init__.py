"""What the files and folders of a training hold, read without running code and without changing anything."""
