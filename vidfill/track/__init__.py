"""From clicks to masks: select the object on a frame, follow it through the video, say when it is lost."""
