"""One file per family, for what capture cannot know by itself."""
